"""``close_pools()`` closes connections of the running event loop, and ends nothing else."""

import asyncio
import threading
import uuid

import pytest
from asgiref.sync import async_to_sync

from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ....asgi import until
from ....brokers import running
from ....proxy import Proxy
from ..loops import another_loop, call

LAYERS = {"streams": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}


@pytest.fixture(scope="module")
def broker():
    """A server of its own, to count its connections."""
    with running("valkey") as broker:
        yield broker


@pytest.fixture(params=LAYERS.values(), ids=LAYERS)
def layer_class(request):
    return request.param


@pytest.fixture
async def make(broker, layer_class):
    prefix, made = uuid.uuid4().hex, []

    def make(**options):
        options = {"hosts": [broker.address], "prefix": prefix, **options}
        made.append(layer_class(**options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


async def taken(mailbox):
    await until(lambda: mailbox.qsize() or mailbox.gap)
    return mailbox.take()


def message(n=0):
    return {"type": "test.message", "n": n}


def connections(broker):
    """Connections to the broker besides the one that asks."""
    with broker.client() as client:
        return len(client.client_list()) - 1


async def use(layer):
    """Have a connection of every kind."""
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_add("group", "named")
    await layer.group_send("group", message())
    for name in (channel, "named"):
        assert await receive(layer, name) == message()
        await layer.group_discard("group", name)


# What is closed


async def test_no_connection_and_no_task_is_left_and_the_layer_can_be_used_again(make, broker):
    layer = make()
    before = connections(broker)
    for _ in range(3):
        await use(layer)
        assert connections(broker) > before
        for _ in range(2):
            await layer.close_pools()
        await until(lambda: connections(broker) == before)
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})


async def test_a_layer_that_was_never_used_has_nothing_to_close(make, broker):
    before = connections(broker)
    await make().close_pools()
    assert connections(broker) == before


def test_each_event_loop_closes_its_own(layer_class, broker):
    """As tests do, each on an event loop of its own, with one layer object."""
    layer = layer_class(hosts=[broker.address], prefix=uuid.uuid4().hex)
    before = connections(broker)

    async def test():
        await use(layer)
        await layer.close_pools()
        await until(lambda: asyncio.all_tasks() == {asyncio.current_task()})

    for _ in range(3):
        loop = asyncio.new_event_loop()  # whose tasks nobody cancels at the end
        loop.run_until_complete(test())
        loop.close()
        assert connections(broker) == before
    asyncio.run(layer.aclose())


# What goes on


async def test_what_was_sent_and_not_read_is_still_there(make):
    layer, other = make(), make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, message(1))
    await other.send(channel, message(2))
    await other.group_send("group", message(3))
    await other.send("named", message(4))
    await layer.close_pools()
    await other.close_pools()
    assert [(await receive(layer, channel))["n"] for _ in range(3)] == [1, 2, 3]
    assert await receive(layer, "named") == message(4)


def test_the_next_event_loop_finds_what_was_not_read(layer_class, broker):
    layer = layer_class(hosts=[broker.address], prefix=uuid.uuid4().hex)

    async def first():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        for n in range(3):
            await layer.group_send("group", message(n))
        await layer.send(channel, message(3))
        await until(lambda: layer.count_pending() == 4)
        await layer.close_pools()
        return channel

    async def second(channel):
        for n in range(4):
            assert await receive(layer, channel) == message(n)
        await layer.group_send("group", message(4))
        assert await receive(layer, channel) == message(4)
        await layer.aclose()

    asyncio.run(second(asyncio.run(first())))


async def test_a_channel_of_our_own_can_be_sent_to_at_once(make):
    layer = make()
    for n in range(3):
        channel = await layer.new_channel()
        await layer.close_pools()
        await layer.send(channel, message(n))
        assert await receive(layer, channel) == message(n)


async def test_memberships_go_on(make):
    layer, other = make(), make()
    channel = await layer.new_channel()
    for member in (channel, "named"):
        await layer.group_add("group", member)
    for n in range(3):
        await layer.close_pools()
        await other.group_send("group", message(n))
        for member in (channel, "named"):
            assert await receive(layer, member) == message(n)


async def test_a_consumer_on_the_same_loop_goes_on(make):
    layer, other = make(), make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)
    for n in range(3):
        await asyncio.gather(layer.close_pools(), other.close_pools(), layer.close_pools())
        for sender in (layer, other):
            await sender.group_send("group", message(n))
            assert await taken(mailbox) == message(n)
            await sender.send(mailbox.channel, message(-n))
            assert await taken(mailbox) == message(-n)
    await mailbox.close()


async def test_a_consumer_that_is_about_to_start_is_heard(make):
    """Its channel has been made, and nobody waits yet."""
    layer, other = make(), make()
    channel = await layer.new_channel()
    await layer.close_pools()
    mailbox = layer.open_mailbox(channel, lambda: None)
    await until(layer.transport.is_ready)
    await other.send(channel, message())
    assert await taken(mailbox) == message()
    await mailbox.close()


async def test_a_consumer_on_another_loop_goes_on(make):
    layer, other = make(), make()
    channel = await layer.new_channel()  # so it is this loop that receives

    async def open_one():
        mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
        await layer.group_add("group", mailbox.channel)
        return mailbox

    async def close_one():
        await mailbox.close()

    with another_loop() as elsewhere:
        mailbox = await call(elsewhere, open_one())
        for n in range(3):
            await layer.close_pools()
            await other.group_send("group", message(n))
            assert await call(elsewhere, taken(mailbox)) == message(n)
        await layer.send(channel, message(7))
        assert await receive(layer, channel) == message(7)
        await call(elsewhere, close_one())
        await call(elsewhere, layer.close_pools())


async def test_a_caller_that_waits_for_a_message_goes_on_waiting(make):
    layer, other = make(), make()
    names = [await layer.new_channel(), "named"]
    waits = [asyncio.create_task(receive(layer, name)) for name in names]
    await until(
        lambda: layer.local.waiting_loops() and layer.transport.named.reader("named", 60).callers
    )
    await layer.close_pools()
    for name in names:
        await other.send(name, message())
    assert await asyncio.gather(*waits) == [message()] * 2


async def test_a_caller_that_is_about_to_receive_gets_a_channel(make, broker):
    async with Proxy(broker.address) as proxy:
        layer = make(hosts=[proxy.address])
        proxy.stall()
        making = asyncio.create_task(layer.new_channel())
        await until(lambda: proxy.open)
        await layer.close_pools()
        proxy.flow()
        async with asyncio.timeout(10):
            channel = await making
        await layer.send(channel, message())
        assert await receive(layer, channel) == message()
        await layer.aclose()


async def test_calls_under_way_come_to_their_end(make, broker):
    async with Proxy(broker.address) as proxy:
        layer, other = make(hosts=[proxy.address]), make()
        channel = await other.new_channel()
        await other.group_add("group", channel)
        await layer.send("named", message())
        proxy.stall()
        sends = [asyncio.create_task(layer.send("named", message(n))) for n in range(1, 4)]
        await asyncio.sleep(0)
        async with asyncio.timeout(10):
            await layer.close_pools()
        assert not any(send.done() for send in sends)
        sends.append(asyncio.create_task(layer.send("named", message(4))))
        proxy.flow()
        await asyncio.gather(*sends)
        assert [(await receive(other, "named"))["n"] for _ in range(5)] == list(range(5))
        await layer.aclose()


async def test_many_that_send_and_close_at_once(make):
    layer, other = make(capacity=1000), make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)

    async def work(sender, n):
        for _ in range(10):
            await sender.group_send("group", message(n))
            await sender.close_pools()

    await asyncio.gather(*(work(sender, n) for n in range(10) for sender in (layer, other)))
    await until(lambda: mailbox.qsize() == 200)
    assert sorted(mailbox.take()["n"] for _ in range(200)) == sorted([*range(10)] * 20)
    assert mailbox.gap is None
    await mailbox.close()


async def test_synchronous_code_closes_nothing_of_others(make):
    """As a view or a Celery task that ends with it."""
    layer = make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)

    def work(n):
        async_to_sync(layer.group_send)("group", message(n))
        async_to_sync(layer.close_pools)()

    for n in range(3):
        thread = threading.Thread(target=work, args=(n,))
        thread.start()
        assert await taken(mailbox) == message(n)
        await asyncio.to_thread(thread.join)
    await mailbox.close()


async def test_aclose_ends_memberships_and_what_is_unread(make):
    layer, other = make(), make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)
    await layer.send(mailbox.channel, message())
    await until(mailbox.qsize)
    await layer.aclose()
    assert layer.statistics.dropped == {"closed": 1}
    await other.send(mailbox.channel, message())
    assert other.statistics.dropped == {"closed": 1}

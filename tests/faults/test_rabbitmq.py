"""RabbitMQ restarted, paused, short of memory; connections cut; queues and the exchange deleted.

Consumers stay connected, delivery resumes, what is lost is counted or told, nothing comes twice.
"""

import asyncio
import time

import aiormq
import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import receiver
from channels.layers.rabbitmq import RabbitMQChannelLayer, reading
from channels.layers.rabbitmq.names import exchange_name, named_queue

from ..asgi import until
from ..proxy import Proxy
from .harness import Room, Sender, balanced, check_account, check_told, restart, sending, settle

# Seconds that RabbitMQ may take to start where many tests run at once. Alone it takes six.
BOOT = 150


@pytest.fixture(autouse=True)
def patience(monkeypatch):
    """Callers wait for RabbitMQ as long as it may take to start here, and not 30 seconds."""
    monkeypatch.setattr(receiver, "PATIENCE", BOOT)


@pytest.fixture
def node(request):
    """That of the test alone, if it restarts or pauses it, or the one that others use too."""
    own = "own_rabbitmq" in request.fixturenames
    return request.getfixturevalue("own_rabbitmq" if own else "rabbitmq")


@pytest.fixture
async def layers(node):
    """Makes layers, each as another process would have it, and closes them."""
    made, prefix = [], f"faults-{time.monotonic_ns()}"

    def make(url=None, **options):
        options = {"capacity": 100_000, "prefix": prefix, **options}
        made.append(RabbitMQChannelLayer(url or node.url, **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.fixture
async def proxy(node):
    async with Proxy(("127.0.0.1", node.port)) as proxy:
        proxy.url = f"amqp://guest:guest@127.0.0.1:{proxy.port}/"
        yield proxy


@pytest.fixture
async def admin(node):
    """A channel of somebody else, who changes what is at the broker."""
    connection = await aiormq.connect(node.url)
    yield await connection.channel()
    await connection.close()


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_restart_under_load_is_told_once(layers, own_rabbitmq, seconds):
    here, there = layers(), layers()
    async with Room(here) as room, sending(here) as own, sending(there) as others:
        await own[0].reaches(50)
        await others[0].reaches(50)
        await restart(own_rabbitmq, seconds)
        await own[0].reaches(50, BOOT)
        await others[0].reaches(50, BOOT)
        await settle(room, own + others)
        check_told(room, own + others, gaps=None)
        assert all(gaps >= 1 for gaps in room.gaps())


@pytest.mark.parametrize("reset", [True, False])
async def test_a_cut_receiver_is_repaired_and_senders_notice_nothing(layers, proxy, reset):
    here, there = layers(proxy.url), layers()
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        proxy.cut(reset=reset)
        await until(lambda: room.gaps() == [1, 1, 1])
        await settle(room, senders)
        check_told(room, senders)
        assert not there.statistics.dropped


async def test_a_cut_sender_counts_what_is_unconfirmed_and_sends_nothing_twice(layers, proxy):
    here, there = layers(), layers(proxy.url)
    async with Room(here) as room, sending(there) as senders:
        for _ in range(5):
            await senders[0].reaches(50)
            proxy.cut()
        await settle(room, senders)
        for heard in room.heard():
            for sender in senders:
                numbers = [item[1] for item in heard if item != "gap" and item[0] == sender.name]
                assert numbers == sorted(set(numbers)), "in order, and none twice"
        got = len(room.heard()[0]) - room.gaps()[0]
        lost = sum(len(sender.sent) for sender in senders) - got
        unconfirmed = there.statistics.dropped.get("unconfirmed", 0)
        assert 0 <= lost <= unconfirmed <= 5 * len(senders)
        await until(lambda: all(bool(unconfirmed) <= gaps <= 5 for gaps in room.gaps()))
        check_account(room, senders)


async def test_a_channel_is_told_of_a_message_that_may_be_lost(layers, proxy):
    here, there = layers(), layers(proxy.url)
    async with Room(here, members=2) as room:
        sender = Sender(there, channel=room.channels[0])
        await room_hears_first(room, await sender.send_one())

        def cut(data):
            if b"news" in data:
                proxy.on_request = None
                proxy.cut()

        proxy.on_request = cut
        await sender.send_one()
        assert there.statistics.dropped == {"unconfirmed": 1}
        await until(lambda: room.gaps() == [1, 0], 15)


async def room_hears_first(room, message):
    await until(lambda: message in room.heard()[0])


@pytest.mark.slow
async def test_a_pause_of_eight_seconds_loses_nothing(layers, own_rabbitmq):
    here, there = layers(), layers()
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        own_rabbitmq.pause()
        await asyncio.sleep(8)
        own_rabbitmq.resume()
        await senders[0].reaches(50)
        await settle(room, senders)
        assert room.gaps() == [0, 0, 0]
        check_told(room, senders, gaps=0)
        assert not there.statistics.dropped


ALARMS = [
    (("set_vm_memory_high_watermark", "absolute"), "1", "2GB"),
    (("set_disk_free_limit",), "1000000GB", "1MB"),
]


@pytest.mark.parametrize(("limit", "short", "enough"), ALARMS, ids=["memory", "disk"])
async def test_while_memory_or_disk_is_short_sends_say_so_and_the_rest_goes_on(
    layers, own_rabbitmq, limit, short, enough
):
    layer = layers(response_timeout=1.0)
    async with Room(layer) as room:
        sender = Sender(layer)
        await room.hears(await sender.send_one())
        await asyncio.to_thread(own_rabbitmq.ctl, *limit, short)
        try:
            await until_blocked(layer)
            with pytest.raises(BrokerUnavailable, match="memory or its disk are short"):
                await layer.group_send("room", {"type": "news", "sender": "late", "n": 0})
            assert room.connected
            channel = await layer.new_channel()
            await layer.group_add("room", channel)
            await layer.group_add("another", channel)
            await layer.group_discard("room", channel)
        finally:
            await asyncio.to_thread(own_rabbitmq.ctl, *limit, enough)
        await until_unblocked(layer)
        await room.hears(await sender.send_one())
        assert room.connected


async def until_blocked(layer):
    """RabbitMQ tells a connection that it is blocked when something is published over it."""
    for _ in range(20):
        try:
            await layer.group_send("nobody", {"type": "news"})
        except BrokerError:
            return
    raise AssertionError("sends go on")


async def until_unblocked(layer):
    async with asyncio.timeout(30):
        while True:
            try:
                await layer.group_send("nobody", {"type": "news"})
            except BrokerError:
                continue
            return


async def test_an_exchange_that_was_deleted_is_made_anew(layers, admin):
    here, there = layers(), layers()
    async with Room(here) as room, sending(there, pause=0.02) as senders:
        await senders[0].reaches(10)
        await admin.exchange_delete(exchange_name(here.prefix))
        await until(lambda: all(gaps >= 1 for gaps in room.gaps()), 20)
        await senders[0].reaches(10)
        await settle(room, senders)
        check_told(room, senders, gaps=None)


async def test_a_process_whose_queue_was_deleted_has_another_one(layers, rabbitmq):
    here, there = layers(), layers()
    async with Room(here) as room:
        (inbox,) = here.transport.receiver.readers
        await asyncio.to_thread(rabbitmq.ctl, "delete_queue", inbox._queue)
        await until(lambda: room.gaps() == [1, 1, 1], 20)
        await room.hears(await Sender(there).send_one())


async def test_the_queue_of_a_named_channel_may_be_deleted(layers, admin):
    layer = layers()
    await layer.send("jobs", {"type": "lost"})
    await admin.queue_delete(named_queue(layer.prefix, "jobs"))
    await layer.send("jobs", {"type": "kept"})
    assert await layer.receive("jobs") == {"type": "kept"}
    waiting = asyncio.create_task(layer.receive("jobs"))
    await until(layer.transport.named.is_awaited)
    await admin.queue_delete(named_queue(layer.prefix, "jobs"))
    await layer.send("jobs", {"type": "later"})
    async with asyncio.timeout(20):
        assert await waiting == {"type": "later"}


async def test_named_channels_outlive_a_restart(layers, own_rabbitmq):
    layer = layers()
    for n in range(20):
        await layer.send("jobs", {"type": "job", "n": n})
    # A node that is killed right after a queue was made may have forgotten the queue.
    await asyncio.to_thread(own_rabbitmq.ctl, "stop_app")
    await asyncio.to_thread(own_rabbitmq.ctl, "start_app")
    async with asyncio.timeout(BOOT):
        assert [(await layer.receive("jobs"))["n"] for _ in range(20)] == list(range(20))
    assert balanced(layer)


@pytest.mark.slow
async def test_a_queue_that_was_forgotten_in_a_crash_is_told_of_and_holds_up_no_other(
    layers, own_rabbitmq, monkeypatch
):
    """RabbitMQ knows the name of a quorum queue that it had just made, and answers nothing else."""
    monkeypatch.setattr(reading, "PATIENCE", 6.0)
    layer = layers(queue_type="quorum", response_timeout=2.0)
    await layer.send("jobs", {"type": "lost"})
    await restart(own_rabbitmq, 0)
    waiting = asyncio.create_task(layer.receive("jobs"))
    async with asyncio.timeout(BOOT):
        for n in range(5):
            await layer.send("others", {"type": "job", "n": n})
            assert (await layer.receive("others"))["n"] == n
        with pytest.raises(
            BrokerError, match=r"messages of channel jobs;.*rabbitmqctl delete_queue"
        ):
            await waiting
        await asyncio.to_thread(own_rabbitmq.ctl, "delete_queue", named_queue(layer.prefix, "jobs"))
        await layer.send("jobs", {"type": "kept"})
        assert await layer.receive("jobs") == {"type": "kept"}


async def test_workers_handle_each_message_once_while_connections_break(layers, proxy):
    sender, workers = layers(), [layers(proxy.url), layers(proxy.url)]
    handled = []

    async def work(layer):
        while True:
            handled.append((await layer.receive("jobs"))["n"])

    tasks = [asyncio.create_task(work(layer)) for layer in workers]
    for n in range(200):
        await sender.send("jobs", {"type": "job", "n": n})
        if n % 40 == 20:
            proxy.cut()

    def lost():
        return sum(layer.statistics.dropped.get("unconfirmed", 0) for layer in workers)

    await until(lambda: len(handled) + lost() >= 200, 30)
    for task in tasks:
        task.cancel()
    await asyncio.wait(tasks)
    assert len(set(handled)) == len(handled), "none is handled twice"
    assert len(handled) >= 200 - 5 * len(workers)


async def test_a_process_that_was_killed_is_missed_by_nobody(layers):
    here, gone = layers(), layers()
    channel = await gone.new_channel()
    await gone.group_add("room", channel)
    # The connection ends as that of a process that was killed; its reader makes no other.
    gone.transport.receiver.readers[0].abandon()
    link = gone.transport.receiver.readers[0]._link
    await link.aclose()
    await until_closed(here, channel)
    await here.group_send("room", {"type": "news"})
    assert here.statistics.dropped.keys() == {"closed"}


async def until_closed(layer, channel):
    async with asyncio.timeout(10):
        while not layer.statistics.dropped.get("closed"):
            await layer.send(channel, {"type": "news"})


async def test_wrong_credentials_are_an_error_that_says_so(layers, rabbitmq):
    layer = layers(rabbitmq.url.replace("guest:guest", "guest:wrong"))
    for call in (layer.new_channel(), layer.send("jobs", {"type": "job"}), layer.receive("jobs")):
        with pytest.raises(BrokerError, match="refused the credentials"):
            await call


async def test_a_virtual_host_that_is_missing_is_an_error_that_says_so(layers, rabbitmq):
    layer = layers(f"{rabbitmq.url}nowhere")
    for call in (layer.new_channel(), layer.send("jobs", {"type": "job"}), layer.receive("jobs")):
        with pytest.raises(BrokerError, match="add_vhost"):
            await call


@pytest.mark.slow
async def test_a_user_without_a_permission_is_told_so_at_once(layers, rabbitmq):
    async def permit(write):
        command = ("set_permissions", "-p", "/", "restricted", ".*", write, ".*")
        await asyncio.to_thread(rabbitmq.ctl, *command)

    await asyncio.to_thread(rabbitmq.ctl, "add_user", "restricted", "secret")
    url = rabbitmq.url.replace("guest:guest", "restricted:secret")
    no_default, no_exchange = r"^channels\.", r"^amq\.default$|^channels\.[^.]+\."
    for write, allowed in ((no_default, "room"), (no_exchange, "jobs")):
        await permit(write)
        layer = layers(url)
        channel = await layer.new_channel()
        await layer.group_add("room", channel)
        calls = {
            "room": layer.group_send("room", {"type": "news"}),
            "jobs": layer.send("jobs", {"type": "job"}),
        }
        async with asyncio.timeout(8):
            await calls.pop(allowed)
            [refused] = calls.values()
            with pytest.raises(BrokerError, match="permissions do not allow it"):
                await refused
            await layer.flush()
            await layer.aclose()


async def test_the_next_node_is_tried_when_one_is_down(layers, rabbitmq):
    layer = layers(["amqp://guest:guest@127.0.0.1:1/", rabbitmq.url])
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "news"})
    assert await layer.receive(channel) == {"type": "news"}

"""What both layers over Redis promise, and what does not depend on how messages travel."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading

import pytest
from asgiref.sync import async_to_sync

from channels import signals
from channels.exceptions import BrokerError, ChannelFull, InvalidChannelLayerError, TooManyGroups
from channels.layers import carriers
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis.keys import consistent_hash

from ..helpers import balanced, message, until
from ..loops import another_loop


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer], ids=["streams", "pubsub"])
def layer_class(request):
    return request.param


@pytest.fixture
def make_here(layer_class, shared_broker, prefix):
    """Makes layers of one prefix, each as another process would have it."""

    def make(**options):
        return layer_class(**{"hosts": [shared_broker.address], "prefix": prefix, **options})

    return make


@pytest.fixture
async def make(make_here):
    """Makes such layers, and closes them."""
    made = []

    def make(**options):
        made.append(make_here(**options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.fixture
def layer(make):
    return make()


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


# Names


async def test_channels_carry_the_name_of_their_process(make):
    layer = make()
    for prefix in ("specific", "a.b.c", "x"):
        name = await layer.new_channel(prefix)
        assert name.startswith(f"{prefix}.{layer.client_prefix}!")


async def test_only_its_own_process_receives_from_a_channel(make):
    here, there = make(), make()
    channel = await here.new_channel()
    with pytest.raises(InvalidChannelLayerError, match="another process"):
        await there.receive(channel)


async def test_a_prefix_is_taken_literally_when_flushing(make, redis, prefix):
    strange = make(prefix=f"{prefix}*[a-z]?\\")
    await strange.send("named", message())
    plain = make()
    await plain.send("named", message())
    await strange.flush()
    assert await receive(plain, "named") == message()
    assert not [key for key in redis.keys("*") if f"{prefix}*".encode() in key]


# Messages


async def test_a_message_to_a_process_that_is_gone_is_counted(make):
    here, there = make(), make()
    channel = await there.new_channel()
    await there.aclose()
    await here.send(channel, message())
    assert here.statistics.dropped == {"closed": 1}
    assert balanced(here)


async def test_messages_on_their_way_take_up_room(make):
    layer = make(capacity=5)
    channel = await layer.new_channel()
    sends = [layer.send(channel, message(n)) for n in range(8)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(result) for result in results[5:]] == [ChannelFull] * 3
    assert [(await receive(layer, channel))["n"] for _ in range(5)] == list(range(5))
    assert balanced(layer)


async def test_what_a_full_queue_misses_of_a_group_is_counted(make, shared_broker):
    layer = make(capacity=2, hosts=[shared_broker.address] * 3)
    places = {consistent_hash(f"named-{n}", 3): f"named-{n}" for n in range(100)}
    names = list(places.values())  # one in the group's partition, two not
    for name in names:
        await layer.group_add("group", name)
    for n in range(3):
        await layer.group_send("group", message(n))
    assert layer.statistics.dropped == {"capacity": 3}
    for name in names:
        assert [(await receive(layer, name))["n"] for _ in range(2)] == [0, 1]
        await layer.group_discard("group", name)
    await layer.group_send("group", message(9))
    await layer.send(names[0], message(10))
    assert await receive(layer, names[0]) == message(10)


async def test_a_named_channels_membership_ends(make):
    layer = make(group_expiry=0.3)
    await layer.group_add("group", "named")
    await layer.group_send("group", message(1))
    await asyncio.sleep(0.4)
    await layer.group_send("group", message(2))
    await layer.send("named", message(3))
    assert await receive(layer, "named") == message(1)
    assert await receive(layer, "named") == message(3)


async def test_drops_are_logged_with_the_layers_name(make, layer_class, caplog):
    caplog.set_level(logging.WARNING)
    layer = make(capacity=1)
    await layer.group_add("group", "named")
    for _ in range(2):
        await layer.group_send("group", message())
    assert f"{layer_class.__name__} dropped 1 messages (capacity)" in caplog.text


async def test_another_key_is_counted_and_disturbs_nobody(make):
    layer = make(symmetric_encryption_keys=["ours"])
    stranger = make(symmetric_encryption_keys=["theirs"])
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await stranger.group_send("group", message(1))
    await layer.group_send("group", message(2))
    assert await receive(layer, channel) == message(2)
    assert layer.statistics.dropped == {"undecodable": 1}


async def test_refused_credentials_are_told_at_once_and_tried_on(
    make, redis, shared_broker, prefix, caplog
):
    host, port = shared_broker.address
    redis.execute_command("ACL", "SETUSER", prefix, "on", ">secret", "~*", "+@all", "allchannels")
    try:
        layer = make(hosts=[f"redis://{prefix}:wrong@{host}:{port}/0"])
        for _ in range(3):
            async with asyncio.timeout(5):
                with pytest.raises(BrokerError, match="credentials"):
                    await layer.new_channel()
        told = [line for line in caplog.messages if "does not work" in line and "receiving" in line]
        assert len(told) == 1
        redis.execute_command("ACL", "SETUSER", prefix, ">wrong")

        async def new_channel():
            while True:
                with contextlib.suppress(BrokerError):
                    return await layer.new_channel()

        async with asyncio.timeout(5):
            channel = await new_channel()
        await layer.send(channel, message())
        assert await receive(layer, channel) == message()
        await layer.aclose()
    finally:
        redis.execute_command("ACL", "DELUSER", prefix)


# Event loops, threads, processes


async def test_members_on_another_running_loop_are_served_over_one_connection(layer, redis):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    before = len(redis.client_list())

    async def elsewhere():
        other = await layer.new_channel()
        await layer.group_add("group", other)
        await layer.group_send("group", message())
        assert await receive(layer, other) == message()
        await layer.group_discard("group", other)
        assert len(redis.client_list()) == before + 1, "the one that sends"

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert await receive(layer, channel) == message()


def test_the_next_event_loop_takes_over(make_here):
    layer = make_here()

    async def join():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        return channel

    async def use(channel):
        await layer.new_channel()
        await layer.group_send("group", message())
        assert await receive(layer, channel) == message()
        await layer.aclose()

    asyncio.run(use(asyncio.run(join())))


def test_event_loops_that_take_turns_get_everything_once(make_here):
    layer = make_here()

    async def join():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        return channel

    async def exchange(n):
        await layer.new_channel()
        await layer.group_send("group", message(n))
        assert await receive(layer, channel) == message(n)

    with asyncio.Runner() as first, asyncio.Runner() as second:
        channel = first.run(join())
        for n in range(3):
            for runner in (second, first):
                runner.run(exchange(n))
        first.run(layer.aclose())
    assert layer.statistics.delivered == layer.statistics.sent == 6


def test_event_loops_that_join_a_group_at_once_agree_on_the_one_that_receives(make_here):
    layer = make_here()
    both = threading.Barrier(2)

    async def join(channel):
        both.wait(10)
        await layer.group_add("group", channel)

    async def use():
        await layer.new_channel()
        await layer.group_send("group", message())
        for channel in channels:
            assert await receive(layer, channel) == message()
        await layer.aclose()

    async def name():
        return await layer.new_channel()

    # The event loop that has received stands still, so neither knows which one is to receive next.
    with asyncio.Runner() as first, asyncio.Runner() as last:
        channels = [first.run(name()) for _ in range(2)]
        with another_loop() as second, another_loop() as third:
            joins = [
                asyncio.run_coroutine_threadsafe(join(channel), loop)
                for loop, channel in zip((second, third), channels, strict=True)
            ]
            for joined in joins:
                joined.result(10)
        last.run(use())


async def test_a_caller_that_gives_up_leaving_a_group_leaves_others_alone(layer):
    channels = [await layer.new_channel() for _ in range(2)]
    for channel in channels:
        await layer.group_add("group", channel)
    first, second = [
        asyncio.create_task(layer.group_discard("group", channel)) for channel in channels
    ]
    await asyncio.sleep(0)
    first.cancel()
    await asyncio.wait((first, second), timeout=5)
    assert not second.cancelled()
    assert second.exception() is None


async def test_a_subclass_says_what_names_and_capacities_are(layer_class, shared_broker, prefix):
    class Own(layer_class):
        MAX_NAME_LENGTH = 200

        def get_capacity(self, channel):
            return 2

    layer = Own(hosts=[shared_broker.address], prefix=prefix)
    channel = await layer.new_channel("a" * 120)
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))
    await until(lambda: layer.statistics.sent == 3)
    assert [(await receive(layer, channel))["n"] for _ in range(2)] == [0, 1]
    assert layer.statistics.dropped == {"capacity": 1}
    await layer.aclose()


async def test_threads_share_one_connection(layer, redis):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    before = len(redis.client_list())

    def send_all():
        for _ in range(10):
            async_to_sync(layer.group_send)("group", message())

    threads = [threading.Thread(target=send_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(80):
        assert await receive(layer, channel) == message()
    for thread in threads:
        await asyncio.to_thread(thread.join)
    assert len(redis.client_list()) <= before + 1


FORK = """
import asyncio, os, sys
from channels.layers import redis

layer = getattr(redis, sys.argv[3])(hosts=[("127.0.0.1", int(sys.argv[1]))], prefix=sys.argv[2])

async def parent():
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    child = os.fork()
    if child == 0:
        os._exit(run_child(channel))
    for _ in range(2):
        assert (await asyncio.wait_for(layer.receive(channel), 10))["type"] == "test.news"
    status = await asyncio.to_thread(os.waitpid, child, 0)
    assert status[1] == 0, status
    await layer.group_send("group", {"type": "test.last"})
    assert (await asyncio.wait_for(layer.receive(channel), 10))["type"] == "test.last"
    await layer.aclose()

def run_child(channel):
    import gc, threading
    gc.collect()  # what is the parent's must not be let go of here
    codes = []

    def work():
        async def send():
            own = await layer.new_channel()
            assert own.split("!")[0] != channel.split("!")[0]
            await layer.group_send("group", {"type": "test.news"})
            await layer.send(channel, {"type": "test.news"})
            await layer.aclose()
        asyncio.run(send())
        codes.append(0)

    thread = threading.Thread(target=work)
    thread.start()
    thread.join()
    return 0 if codes else 1

asyncio.run(parent())
print("fine")
"""


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the platform has no fork")
def test_a_fork_disturbs_neither_process(layer_class, shared_broker, prefix):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    arguments = [str(shared_broker.address[1]), prefix, layer_class.__name__]
    done = subprocess.run(
        [sys.executable, "-c", FORK, *arguments],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr


# What others listen to, and what travels beside


async def test_what_is_sent_later_carries_what_was_given_when_it_was_asked_for(layer):
    def carrier(sending):
        return {"operation": sending.operation}, None

    carriers.register(carrier)
    try:
        await layer.send_later("queue", message(1), delay=0)
        await layer.new_channel()  # some process has to look at what is due
        assert await receive(layer, "queue") == message(1)
        assert carriers.received() == {"operation": "send_later"}
    finally:
        carriers.unregister(carrier)


async def test_what_arrives_for_a_channel_or_a_group_is_signalled(layer):
    heard = []

    def receiver(channel, group, count, **others):
        heard.append((channel, group, count))

    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    signals.layer_message_received.connect(receiver)
    try:
        await layer.send(channel, message(1))
        await layer.group_send("group", message(2))
        assert [await receive(layer, channel) for _ in range(2)] == [message(1), message(2)]
    finally:
        signals.layer_message_received.disconnect(receiver)
    assert heard == [(channel, None, 1), (None, "group", 1)]


async def test_a_channel_may_be_in_so_many_groups_and_no_more(layer):
    exceeded = []
    channel = await layer.new_channel()
    mailbox = layer.open_mailbox(channel, lambda: None)
    await layer.group_add("one", channel)
    layer.limit_groups(channel, 1, lambda: exceeded.append("it"))
    with pytest.raises(TooManyGroups):
        await layer.group_add("two", channel)
    assert exceeded == ["it"]
    await layer.group_discard("two", channel)  # in which it is not
    await layer.group_discard("one", channel)
    await layer.group_add("two", channel)
    await layer.flush()
    await mailbox.close()


async def test_refused_credentials_fail_what_waits_to_be_sent(make, redis, shared_broker, prefix):
    host, port = shared_broker.address
    redis.execute_command("ACL", "SETUSER", prefix, "on", ">secret", "~*", "+@all", "allchannels")
    try:
        layer = make(hosts=[f"redis://{prefix}:wrong@{host}:{port}/0"])
        calls = await asyncio.gather(
            *(layer.send(f"queue{n}", message(n)) for n in range(3)), return_exceptions=True
        )
        assert [isinstance(error, BrokerError) for error in calls] == [True] * 3
        assert "credentials" in str(calls[0])
    finally:
        redis.execute_command("ACL", "DELUSER", prefix)

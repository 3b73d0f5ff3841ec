"""The pub/sub layer, on a real server: what is subscribed to when, and what is counted."""

import asyncio
import contextlib
import logging
import os
import subprocess
import sys
import threading
import uuid

import pytest
from asgiref.sync import async_to_sync

from channels.exceptions import BrokerError, ChannelFull, InvalidChannelLayerError
from channels.layers.redis import RedisPubSubChannelLayer
from channels.layers.redis.connection import raw

from .....asgi import until
from .....brokers import running
from .....proxy import Proxy

NEWS = {"type": "test.news"}


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def make(broker):
    """Makes layers of one prefix, each as another process would have it, and closes them."""
    prefix, made = uuid.uuid4().hex, []

    def make(**options):
        options = {"hosts": [broker.address], "prefix": prefix, **options}
        made.append(RedisPubSubChannelLayer(**options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.fixture
def layer(make):
    return make()


def subscribers(broker, layer, group="group", command="NUMSUB"):
    return broker.cli("PUBSUB", command, f"{{{layer.prefix}:0}}:group:{group}")[1]


def cut_subscriber(broker, proxy):
    """Break the one connection of the proxy that is subscribed to something."""
    (line,) = broker.cli("CLIENT", "LIST", "TYPE", "pubsub").decode().splitlines()
    port = int(line.partition(" addr=")[2].partition(" ")[0].rpartition(":")[2])
    for pipe in list(proxy._pipes):
        if pipe.server.get_extra_info("sockname")[1] == port:
            pipe.close(reset=True)


def process_topic(layer, channel):
    process = channel.partition("!")[0].rpartition(".")[2]
    return f"{{{layer.prefix}:0}}:process:{process}"


def balanced(layer):
    counts = layer.statistics
    return counts.sent == counts.delivered + sum(counts.dropped.values()) + counts.pending


async def soon(awaitable):
    async with asyncio.timeout(5):
        return await awaitable


# Subscriptions


async def test_sharded_topics(make, broker):
    layer = make(sharded=True)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    assert subscribers(broker, layer, command="SHARDNUMSUB") == 1
    assert subscribers(broker, layer) == 0
    await layer.group_send("group", NEWS)
    assert await soon(layer.receive(channel)) == NEWS


async def test_a_refused_subscription_says_why(make, broker):
    broker.cli("ACL", "SETUSER", "nobody", "on", ">secret", "~*", "+@all", "resetchannels")
    layer = make(hosts=[f"redis://nobody:secret@127.0.0.1:{broker.port}/0"])
    for _ in range(2):
        with pytest.raises(BrokerError, match=r"refused a subscription.*channel"):
            await soon(layer.new_channel())


async def test_who_leaves_gets_what_was_published_before(make, broker):
    async with Proxy(broker.address) as proxy:
        layer, sender = make(hosts=[proxy.address]), make()
        channel, stays = await layer.new_channel(), await layer.new_channel()
        for member in (channel, stays):
            await layer.group_add("group", member)
        proxy.latency = 0.05
        await sender.group_send("group", NEWS)
        await layer.group_discard("group", channel)
        for member in (channel, stays):
            assert await soon(layer.receive(member)) == NEWS
        await layer.aclose()


async def test_who_joins_gets_nothing_that_was_published_before(make, broker):
    async with Proxy(broker.address) as proxy:
        layer, sender = make(hosts=[proxy.address]), make()
        early, late = await layer.new_channel(), await layer.new_channel()
        await layer.group_add("group", early)
        proxy.latency = 0.05
        await sender.group_send("group", NEWS)
        await layer.group_add("group", late)
        assert await soon(layer.receive(early)) == NEWS
        await sender.group_send("group", {"type": "test.last"})
        assert await soon(layer.receive(late)) == {"type": "test.last"}
        await layer.aclose()


async def test_refused_credentials_are_told_at_once_and_tried_on(make, broker, caplog):
    broker.cli("ACL", "SETUSER", "somebody", "on", ">secret", "~*", "+@all", "allchannels")
    layer = make(hosts=[f"redis://somebody:wrong@127.0.0.1:{broker.port}/0"])
    for _ in range(3):
        with pytest.raises(BrokerError, match="credentials"):
            await soon(layer.new_channel())
    assert caplog.text.count("receiving what is published does not work") == 1
    broker.cli("ACL", "SETUSER", "somebody", ">wrong")

    async def new_channel():
        while True:
            with contextlib.suppress(BrokerError):
                return await layer.new_channel()

    channel = await soon(new_channel())
    await layer.send(channel, NEWS)
    assert await soon(layer.receive(channel)) == NEWS


# Sending


async def test_what_is_sent_to_a_process_that_is_gone_is_counted(make):
    layer, other = make(), make()
    channel = await other.new_channel()
    await other.aclose()
    await layer.send(channel, NEWS)
    assert layer.statistics.dropped == {"closed": 1}
    assert balanced(layer)


async def test_only_its_own_process_receives_from_a_channel(make):
    layer, other = make(), make()
    with pytest.raises(InvalidChannelLayerError, match="another process"):
        await layer.receive(await other.new_channel())


async def test_messages_on_their_way_take_up_room(make):
    layer = make(capacity=5)
    channel = await layer.new_channel()
    sends = [layer.send(channel, {**NEWS, "n": n}) for n in range(8)]
    results = await asyncio.gather(*sends, return_exceptions=True)
    assert [type(result) for result in results[5:]] == [ChannelFull] * 3
    assert [(await soon(layer.receive(channel)))["n"] for _ in range(5)] == list(range(5))
    assert balanced(layer)


async def test_what_a_broken_connection_carried_takes_up_no_room(make, broker):
    async with Proxy(broker.address) as proxy:
        repaired = asyncio.Event()
        layer = make(hosts=[proxy.address], capacity=1, on_reconnect=repaired.set)
        channel = await layer.new_channel()

        def cut(data):
            if b"test.lost" in data:
                cut_subscriber(broker, proxy)

        proxy.on_reply = cut
        await layer.send(channel, {"type": "test.lost"})
        await soon(repaired.wait())
        await layer.send(channel, NEWS)
        assert await soon(layer.receive(channel)) == NEWS
        assert balanced(layer)
        await layer.aclose()


async def test_a_full_named_member_is_counted(make):
    layer = make(capacity=2)
    await layer.group_add("group", "named")
    for _ in range(3):
        await layer.group_send("group", NEWS)
    assert layer.statistics.dropped == {"capacity": 1}
    for _ in range(2):
        assert await soon(layer.receive("named")) == NEWS
    await layer.group_discard("group", "named")
    await layer.group_send("group", NEWS)
    await layer.send("named", {"type": "test.last"})
    assert await soon(layer.receive("named")) == {"type": "test.last"}


# Receiving


async def test_rubbish_is_counted_and_disturbs_nobody(layer, broker, caplog):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    group_topic = f"{{{layer.prefix}:0}}:group:group"
    process = process_topic(layer, channel)
    for topic, data in (
        (group_topic, b""),
        (group_topic, b"\xff\x00 \n"),
        (process, b"c" + channel.encode() + b" \xc1"),
        (process, b""),
        (process, b"\xff\xff\xff"),
        (process, b"j"),
        (process, b"jbad name! "),
        (process, b"q what"),
        (process, b"h what"),
        (process, b"c"),
        (process, b"c\xff\xfe x"),
        (process, b"cnamed-channel x"),
        (process, b"cspecific.another!channel x"),
        (process, b"j\xff \xff"),
        (process, b"lgroup not!a!channel"),
        (process, b"\x00" * 1_000_000),
    ):
        assert broker.cli("PUBLISH", topic, data) == 1
    await layer.group_send("group", NEWS)
    assert await soon(layer.receive(channel)) == NEWS
    assert layer.statistics.dropped == {"undecodable": 16}
    assert balanced(layer)
    lines = [record.getMessage() for record in caplog.records if record.levelno > logging.INFO]
    assert len(lines) == 1
    assert "dropped 1 messages (undecodable)" in lines[0]
    assert layer.local.qsize("named-channel") == 0


async def test_another_key_is_counted_and_disturbs_nobody(make):
    layer = make(symmetric_encryption_keys=["ours"])
    stranger = make(symmetric_encryption_keys=["theirs"])
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await stranger.group_send("group", NEWS)
    await layer.group_send("group", NEWS)
    assert await soon(layer.receive(channel)) == NEWS
    assert layer.statistics.dropped == {"undecodable": 1}


@pytest.mark.parametrize("members", [1, 3])
async def test_it_works_without_hiredis(make, monkeypatch, broker, members):
    monkeypatch.setattr(raw, "Reader", None)
    monkeypatch.setattr(raw, "_pack", None)
    repaired = asyncio.Event()
    layer = make(on_reconnect=repaired.set)
    channels = [await layer.new_channel() for _ in range(members)]
    for channel in channels:
        await layer.group_add("group", channel)
    await layer.group_send("group", NEWS)
    for channel in channels:
        assert await soon(layer.receive(channel)) == NEWS
    broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
    await soon(repaired.wait())
    await layer.group_send("group", NEWS)
    for channel in channels:
        assert await soon(layer.receive(channel)) == NEWS


async def test_failing_callbacks_are_logged_and_stop_nothing(make, broker, caplog):
    async def on_reconnect():
        raise RuntimeError("after")

    def on_disconnect():
        raise RuntimeError("before")

    layer = make(on_disconnect=on_disconnect, on_reconnect=on_reconnect)
    channel = await layer.new_channel()
    broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
    await until(lambda: "after" in caplog.text)
    assert "before" in caplog.text
    await layer.send(channel, NEWS)
    assert await soon(layer.receive(channel)) == NEWS


# Event loops, threads, processes


async def test_members_on_another_running_loop(layer, broker):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)

    async def elsewhere():
        other = await layer.new_channel()
        await layer.group_add("group", other)
        await layer.group_send("group", NEWS)
        assert await soon(layer.receive(other)) == NEWS
        await layer.group_discard("group", other)

    await asyncio.to_thread(asyncio.run, elsewhere())
    assert await soon(layer.receive(channel)) == NEWS
    assert len(broker.cli("CLIENT", "LIST", "TYPE", "pubsub").splitlines()) == 1


def test_the_next_event_loop_takes_over(broker):
    layer = RedisPubSubChannelLayer(hosts=[broker.address], prefix=uuid.uuid4().hex)

    async def join():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        return channel

    async def use(channel):
        await layer.new_channel()
        await layer.group_send("group", NEWS)
        assert await soon(layer.receive(channel)) == NEWS
        await layer.aclose()

    channel = asyncio.run(join())
    asyncio.run(use(channel))


def test_event_loops_that_take_turns_get_everything_once(broker):
    layer = RedisPubSubChannelLayer(hosts=[broker.address], prefix=uuid.uuid4().hex)

    async def join():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        return channel

    async def exchange(n):
        await layer.new_channel()
        await layer.group_send("group", {**NEWS, "n": n})
        assert await soon(layer.receive(channel)) == {**NEWS, "n": n}

    with asyncio.Runner() as first, asyncio.Runner() as second:
        channel = first.run(join())
        for n in range(3):
            for runner in (second, first):
                runner.run(exchange(n))
        first.run(layer.aclose())
    assert layer.statistics.delivered == layer.statistics.sent == 6


async def test_threads_share_one_connection(layer, broker):
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    async_to_sync(layer.group_send)  # the wrapper itself opens nothing
    before = len(broker.cli("CLIENT", "LIST").splitlines())

    def send_all():
        for _ in range(10):
            async_to_sync(layer.group_send)("group", NEWS)

    threads = [threading.Thread(target=send_all) for _ in range(8)]
    for thread in threads:
        thread.start()
    for _ in range(80):
        assert await soon(layer.receive(channel)) == NEWS
    for thread in threads:
        thread.join()
    assert len(broker.cli("CLIENT", "LIST").splitlines()) <= before + 1


async def test_a_closed_layer_has_no_connection_and_works_again(layer, broker):
    for _ in range(2):
        channel = await layer.new_channel()
        await layer.send(channel, NEWS)
        assert await soon(layer.receive(channel)) == NEWS
        await layer.close_pools()
        await until(lambda: not broker.cli("CLIENT", "LIST", "TYPE", "pubsub"))
    assert broker.cli("PUBSUB", "CHANNELS", f"*{layer.prefix}*") == []


FORK = """
import asyncio, os, sys
from channels.layers.redis import RedisPubSubChannelLayer

layer = RedisPubSubChannelLayer(hosts=[("127.0.0.1", int(sys.argv[1]))], prefix=sys.argv[2])

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
def test_a_fork_disturbs_neither_process(broker):
    environment = {**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"}
    done = subprocess.run(
        [sys.executable, "-c", FORK, str(broker.port), uuid.uuid4().hex],
        env=environment, capture_output=True, text=True, timeout=30, check=False,
    )  # fmt: skip
    assert done.stdout == "fine\n", done.stderr

"""The pub/sub layer, on a real server: what is subscribed to when, and what is counted."""

import asyncio
import logging
import uuid

import pytest

from channels.exceptions import BrokerError
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


async def test_a_channel_that_leaves_gets_what_was_published_before(make, broker):
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


async def test_a_channel_that_joins_gets_nothing_that_was_published_before(make, broker):
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


# Sending


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


@pytest.mark.parametrize("members", [1, 3])
async def test_the_layer_works_without_hiredis(make, monkeypatch, broker, members):
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

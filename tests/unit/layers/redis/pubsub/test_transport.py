"""The pub/sub layer, on a real server: what is subscribed to when, and what is counted."""

import asyncio
import logging
import uuid

import pytest

from channels.exceptions import BrokerError
from channels.layers.mailbox import GAP
from channels.layers.redis import RedisPubSubChannelLayer
from channels.layers.redis.connection import raw
from channels.layers.redis.keys import UNSURE
from channels.layers.redis.pubsub import subscription as subscription_module
from channels.layers.redis.pubsub.requests import SHARDED

from .....asgi import until
from .....brokers import running
from .....ports import free_port
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
    assert proxy.cut_from(port) == 1


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


async def test_a_channel_of_another_process_is_not_added_to_groups_here(layer, broker):
    channel = await layer.new_channel()
    process = process_topic(layer, channel)
    assert broker.cli("PUBLISH", process, b"jgroup specific.another!channel") == 1
    assert broker.cli("PUBLISH", process, b"jgroup " + channel.encode()) == 1
    await until(lambda: layer.local.is_member("group", channel))
    assert not layer.local.is_member("group", "specific.another!channel")
    assert layer.statistics.dropped == {}


def test_a_channel_leaves_its_group_after_the_event_loop_that_received_has_ended(broker):
    layer = RedisPubSubChannelLayer(hosts=[broker.address], prefix=uuid.uuid4().hex)

    async def join():
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        assert layer.local.is_member("group", channel)
        return channel

    async def leave(channel):
        await layer.group_discard("group", channel)
        assert not layer.local.is_member("group", channel)
        other = await layer.new_channel()
        await layer.group_add("group", other)
        await layer.group_send("group", NEWS)
        assert await soon(layer.receive(other)) == NEWS
        assert layer.statistics.sent == 1, "to the other channel only"
        await layer.aclose()

    asyncio.run(leave(asyncio.run(join())))


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


async def test_a_cluster_is_asked_what_kind_of_pubsub_it_has(make):
    options = ("--cluster-enabled", "yes", "--cluster-port", str(free_port()))
    with running("valkey", *options) as node:
        node.cli("CLUSTER", "ADDSLOTSRANGE", 0, 16383)
        layer = make(hosts=[{"cluster": [node.address]}])
        channel = await layer.new_channel()
        assert layer.transport.commands is SHARDED
        await layer.send(channel, NEWS)
        assert await soon(layer.receive(channel)) == NEWS
        await layer.aclose()


@pytest.mark.parametrize("to", ["channel", "group"])
async def test_what_the_broker_did_not_confirm_is_counted(make, broker, to):
    async with Proxy(broker.address) as proxy:
        layer, other = make(hosts=[proxy.address]), make()
        channel = await other.new_channel()
        await other.group_add("group", channel)
        await layer.group_send("group", NEWS)
        assert await soon(other.receive(channel)) == NEWS

        def cut(data):
            if b"test.cut" in data:
                proxy.on_request = None
                proxy.cut()

        proxy.on_request = cut
        send = layer.send if to == "channel" else layer.group_send
        await soon(send(channel if to == "channel" else "group", {"type": "test.cut"}))
        assert layer.statistics.dropped == {"unconfirmed": 1}
        assert balanced(layer)
        await layer.aclose()


@pytest.mark.parametrize("to", ["channel", "group"])
async def test_what_is_sent_while_the_process_cannot_listen_waits_until_it_does(make, broker, to):
    async with Proxy(broker.address) as proxy:
        broken = asyncio.Event()
        layer = make(hosts=[proxy.address], on_disconnect=broken.set)
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        proxy.refuse()
        await soon(broken.wait())
        send = layer.send if to == "channel" else layer.group_send
        sending = asyncio.create_task(send(channel if to == "channel" else "group", NEWS))
        await asyncio.sleep(0)
        proxy.accept()
        await soon(sending)
        assert await soon(layer.receive(channel)) == NEWS
        assert layer.statistics.dropped == {}
        await layer.aclose()


async def test_a_notice_of_another_process_is_for_the_members_of_its_group(layer, broker):
    mine, others = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", mine)
    await layer.group_add("others", others)
    boxes = [layer.open_mailbox(channel, lambda: None) for channel in (mine, others)]
    topic, process = f"{{{layer.prefix}:0}}:group:group", process_topic(layer, mine)
    assert broker.cli("PUBLISH", topic, UNSURE + b"0.0") == 1
    assert (await until(boxes[0].take))["type"] == GAP
    assert boxes[1].take() is None
    assert broker.cli("PUBLISH", process, b"c" + others.encode() + b" " + UNSURE + b"0.0") == 1
    assert (await until(boxes[1].take))["type"] == GAP
    for rubbish in (UNSURE + b"soon", UNSURE):
        broker.cli("PUBLISH", topic, rubbish)
    foreign = b"cspecific.another!channel " + UNSURE + b"0.0"
    broker.cli("PUBLISH", process, foreign)
    await until(lambda: layer.statistics.dropped == {"undecodable": 3})
    for box in boxes:
        await box.close()


@pytest.mark.parametrize("to", ["group", "channel"])
async def test_a_fault_that_this_process_has_told_of_is_not_told_again_by_a_notice(
    make, broker, to
):
    async with Proxy(broker.address) as proxy:
        layer = make(hosts=[proxy.address])
        channel = await layer.new_channel()
        box = layer.open_mailbox(channel, lambda: None)
        await layer.group_add("group", channel)
        proxy.cut()
        assert (await until(box.take))["type"] == GAP
        topic, notice = f"{{{layer.prefix}:0}}:group:group", UNSURE + b"0.0"
        if to == "channel":
            topic, notice = process_topic(layer, channel), b"c" + channel.encode() + b" " + notice
        assert broker.cli("PUBLISH", topic, notice) == 1
        await layer.send(channel, NEWS)
        assert await until(box.take) == NEWS
        await box.close()
        await layer.aclose()


async def test_what_comes_to_a_group_that_was_left_a_moment_ago_is_for_nobody(make, broker):
    async with Proxy(broker.address) as proxy:
        layer, heard = make(hosts=[proxy.address]), []
        channel = await layer.new_channel()
        await layer.group_add("group", channel)
        topic = f"{{{layer.prefix}:0}}:group:group"

        def publish_first(data):
            if b"UNSUBSCRIBE" in data.upper():
                heard.append(broker.cli("PUBLISH", topic, b"late"))

        proxy.on_request = publish_first
        await layer.group_discard("group", channel)
        await until(lambda: heard)
        await layer.send(channel, NEWS)
        assert await soon(layer.receive(channel)) == NEWS
        assert heard == [1]
        assert layer.statistics.dropped == {}
        await layer.aclose()


async def test_it_sees_again_and_again_whether_what_is_sent_to_it_comes(layer, monkeypatch):
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.05)
    monkeypatch.setattr(subscription_module, "PROBE_EVERY", 0.05)
    heard = []
    probe = type(layer.transport)._probe

    def recorded(*arguments):
        heard.append(probe(*arguments))
        return heard[-1]

    monkeypatch.setattr(type(layer.transport), "_probe", recorded)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await until(lambda: len(heard) > 1)
    assert await heard[0] == 1

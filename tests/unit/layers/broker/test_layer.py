"""What a layer makes of any transport, over one between the objects of this process."""

import asyncio
import gc
import os
import weakref

import pytest
from asgiref.sync import async_to_sync

from channels._runtime.loops import bridge
from channels.exceptions import (
    BrokerUnavailable,
    ChannelFull,
    InvalidChannelLayerError,
    InvalidNameError,
    SerializationError,
)
from channels.layers.broker import sealing

from ..helpers import balanced, message, until
from .loopback import Broker, Loopback, LoopbackLayer


@pytest.fixture
def broker():
    return Broker()


@pytest.fixture
def make(broker):
    """Makes layers, each as another process would have it."""
    return lambda **options: LoopbackLayer(broker, **options)


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


# What the transport is asked for


class Recorder(Loopback):
    """Takes note of how a method was called."""

    def __init__(self, broker, recipient):
        super().__init__(broker, recipient)
        self.calls = []

    async def group_send(self, group, data, capacity, expiry):
        self.calls.append((group, capacity, expiry))
        return await super().group_send(group, data, capacity, expiry)

    async def enqueue(self, channel, data, capacity, expiry):
        self.calls.append((channel, capacity, expiry))
        return await super().enqueue(channel, data, capacity, expiry)

    async def bind(self, group, channel, lease):
        self.calls.append((group, channel, lease))
        await super().bind(group, channel, lease)


class RecordingLayer(LoopbackLayer):
    def connect(self, recipient):
        return Recorder(self.broker, recipient)


async def test_the_transport_is_told_capacity_and_expiry():
    layer = RecordingLayer(capacity=7, expiry=8, group_expiry=9)
    await layer.group_add("group", "named")
    await layer.send("named", message())
    await layer.group_send("group", message())
    assert layer.transport.calls == [
        ("group", "named", 9),
        ("named", 7, 8),
        ("group", 7, 8),
        ("named", 7, 8),  # which this transport leaves to the layer
    ]


class OwnCapacities(RecordingLayer):
    def get_capacity(self, channel):
        return 3 if channel == "named" else 7


@pytest.mark.parametrize(
    "make_layer",
    [
        lambda: RecordingLayer(capacity=7, channel_capacity={"named": 3}),
        lambda: RecordingLayer(capacity=3, symmetric_encryption_keys=["key"]),
        OwnCapacities,
    ],
)
async def test_named_channels_that_are_not_alike_are_appended_to_one_by_one(make_layer):
    layer = make_layer()
    await layer.group_add("group", "named")
    await layer.group_send("group", message(5))
    assert layer.transport.calls[1:] == [("group", None, 60), ("named", 3, 60)]
    assert await receive(layer, "named") == message(5)


async def test_a_full_named_channel_in_a_group_is_counted(make, drops):
    layer = make(capacity=1)
    await layer.group_add("group", "named")
    for n in range(3):
        await layer.group_send("group", message(n))
    assert drops == [("named", "capacity", 1)] * 2
    with pytest.raises(ChannelFull, match="named holds 1 messages"):
        await layer.send("named", message())


async def test_what_is_no_channel_name_in_a_group_is_passed_over(make, broker):
    layer = make()
    for name in ("first", "no channel", "second"):
        await layer.transport.bind("group", name, 60)
    await layer.group_send("group", message(1))
    assert [await receive(layer, name) for name in ("first", "second")] == [message(1)] * 2
    assert "no channel" not in broker.queues


async def test_the_reason_why_the_transport_lost_a_message_is_counted(make, drops):
    layer, gone = make(), make()
    channel = await gone.new_channel()
    await gone.aclose()
    await layer.send(channel, message())
    assert drops == [(channel, "closed", 1)]
    assert balanced(layer)


async def test_a_send_that_fails_takes_up_no_room(make):
    layer = make(capacity=1)
    channel = await layer.new_channel()
    layer.transport.refusal = BrokerUnavailable("as if")
    for _ in range(3):
        with pytest.raises(BrokerUnavailable, match="as if"):
            await layer.send(channel, message())
    layer.transport.refusal = None
    await layer.send(channel, message(1))
    assert await receive(layer, channel) == message(1)


async def test_the_transport_is_asked_to_stop_receiving(make):
    layer = make()
    await layer.stop_receiving("named")
    assert layer.transport.given_back == ["named"]


async def test_own_channels_and_those_of_others_and_named_ones_join_and_leave(make):
    layer, other = make(), make()
    channels = [await layer.new_channel(), await other.new_channel(), "named"]
    readers = [layer, other, layer]
    for channel in channels:
        await layer.group_add("group", channel)
    await layer.group_send("group", message(1))
    for reader, channel in zip(readers, channels, strict=True):
        assert await receive(reader, channel) == message(1)
    for channel in channels:
        await layer.group_discard("group", channel)
    await layer.group_send("group", message(2))
    for reader, channel in zip(readers, channels, strict=True):
        await layer.send(channel, message(3))
        assert await receive(reader, channel) == message(3)


async def test_a_channel_of_this_process_holds_no_more_than_its_capacity(make):
    layer = make(capacity=5, channel_capacity={"specific.*": 2})
    channel = await layer.new_channel()
    for n in range(2):
        await layer.send(channel, message(n))
    with pytest.raises(ChannelFull, match="holds 2 messages"):
        await layer.send(channel, message())
    assert [await receive(layer, channel) for _ in range(2)] == [message(0), message(1)]


async def test_a_full_member_of_a_group_loses_messages_and_the_others_do_not(make):
    layer, other = make(), make(capacity=1)
    full, roomy = await other.new_channel(), await layer.new_channel()
    for reader, channel in ((other, full), (layer, roomy)):
        await reader.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))
    assert other.statistics.dropped == {"capacity": 2}
    assert [await receive(layer, roomy) for _ in range(3)] == [message(n) for n in range(3)]


# What the transport brings


async def test_a_message_for_another_process_is_refused(make):
    layer, other = make(), make()
    with pytest.raises(InvalidNameError, match="no channel of this process"):
        layer.deliver_to_channel(await other.new_channel(), b"")
    with pytest.raises(InvalidChannelLayerError, match="another process"):
        await layer.receive(await other.new_channel())


async def test_a_message_to_a_group_without_members_here_is_not_counted(make, drops):
    layer = make()
    for data in (b"rubbish", layer.serialize(message())):
        layer.deliver_to_group("group", data)
    assert drops == []
    assert layer.statistics.sent == 0


async def test_an_undecodable_message_is_counted_for_each_member(make, drops):
    layer = make()
    channels = [await layer.new_channel() for _ in range(3)]
    for channel in channels:
        await layer.group_add("group", channel)
    layer.deliver_to_group("group", b"\xc1")
    layer.deliver_to_channel(channels[0], b"\xc1")
    assert drops == [("group", "undecodable", 3), (channels[0], "undecodable", 1)]
    await layer.transport.enqueue("named", b"\xc1", 100, 60)
    await layer.send("named", message(1))
    assert await receive(layer, "named") == message(1)
    assert drops[2:] == [("named", "undecodable", 1)]
    assert balanced(layer)


async def test_an_age_counts_against_the_expiry(make):
    layer = make(expiry=10)
    channel = await layer.new_channel()
    data = layer.serialize(message())
    layer.deliver_to_channel(channel, data, 11)
    layer.deliver_to_channel(channel, layer.serialize(message(1)), 9)
    assert await receive(layer, channel) == message(1)
    assert layer.statistics.dropped == {"expired": 1}


async def test_a_sealed_message_is_for_one_destination(make, drops):
    layer = make(symmetric_encryption_keys=["key"])
    sent = []
    layer.transport.send_to_process = lambda process, channel, data: catch(sent, data)
    first, second = await layer.new_channel(), await layer.new_channel()
    await layer.send(first, message(1))
    layer.deliver_to_channel(second, sent[0])
    layer.deliver_to_channel(first, sent[0])
    assert await receive(layer, first) == message(1)
    assert drops == [(second, "undecodable", 1)]


async def test_a_named_channel_gets_what_a_transport_has_appended_for_its_group(make):
    layer = make(symmetric_encryption_keys=["key"])
    sealed = []
    layer.transport.group_send = lambda group, data, capacity, expiry: catch(sealed, data)
    await layer.group_send("all", message(1))

    async def dequeue(channel, expiry):
        return sealed[0], "all"

    layer.transport.dequeue = dequeue
    assert await receive(layer, "jobs") == message(1)


async def catch(caught, data):
    caught.append(data)


# What a subclass may replace


class Marked(LoopbackLayer):
    """Its own format, and a group of its own for each message."""

    def serialize(self, message):
        return b"Z" + super().serialize(message)

    def deserialize(self, message):
        if message[:1] != b"Z":
            raise KeyError("not ours")
        return super().deserialize(message[1:])

    async def send(self, channel, message):
        await super().send(channel, {**message, "by": "send"})

    async def group_send(self, group, message):
        await super().group_send(f"own.{group}", {**message, "by": "group_send"})

    async def group_add(self, group, channel):
        await super().group_add(f"own.{group}", channel)

    async def receive(self, channel):
        return {**await super().receive(channel), "at": "receive"}

    async def new_channel(self, prefix="marked"):
        return await super().new_channel(prefix)


async def test_a_subclass_may_replace_what_it_likes(broker):
    layer, plain = Marked(broker), LoopbackLayer(broker)
    channel = await layer.new_channel()
    assert channel.startswith(f"marked.{layer.client_prefix}!")
    await layer.group_add("group", channel)
    await layer.group_send("group", message(1))
    await layer.send(channel, message(2))
    await plain.send(channel, message(3))
    expected = [{**message(1), "by": "group_send"}, {**message(2), "by": "send"}]
    for each in expected:
        assert await receive(layer, channel) == {**each, "at": "receive"}
    assert layer.statistics.dropped == {"undecodable": 1}


async def test_a_serializer_must_return_bytes_and_a_dict(make):
    layer = make()
    channel = await layer.new_channel()
    layer.serialize = lambda message: "text"
    for sending in (layer.send(channel, message()), layer.group_send("group", message())):
        with pytest.raises(SerializationError, match=r"serialize\(\) must return bytes, not str"):
            await sending
    layer.serialize = lambda message: bytearray(b"\x90")
    await layer.group_add("group", channel)
    await layer.send(channel, message())
    await layer.group_send("group", message())
    assert layer.statistics.dropped == {"undecodable": 2}
    layer.deserialize = lambda data: [data]
    await layer.send(channel, message())
    assert layer.statistics.dropped == {"undecodable": 3}


# Names


@pytest.mark.parametrize("group", ["no group", "", 5, None, b"bytes", "x" * 100])
async def test_a_group_that_cannot_be_is_refused(make, group):
    layer = make()
    with pytest.raises(InvalidNameError, match="Group name"):
        await layer.group_send(group, message())
    with pytest.raises(InvalidNameError, match="Group name"):
        await layer.group_add(group, "named")


# Event loops


async def test_a_consumer_starts_what_has_stopped(make):
    layer = make()
    channel = await layer.new_channel()
    await layer.aclose()
    assert not layer.transport.is_ready()
    mailbox = layer.open_mailbox(channel, lambda: None)
    await until(layer.transport.is_ready)
    await mailbox.close()


async def test_a_consumer_whose_start_fails_is_left_to_the_transport(make):
    layer = make()
    layer.transport.refusal = BrokerUnavailable("as if")
    mailbox = layer.open_mailbox("specific.x!y", lambda: None)
    for _ in range(5):
        await asyncio.sleep(0)
    assert mailbox.gap is None
    await mailbox.close()


async def test_a_consumer_whose_start_is_cancelled_with_its_loop_leaves_nothing_to_log(make):
    layer, errors = make(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))

    class Silent(Loopback):
        async def ready(self):
            begun.set()
            await asyncio.Event().wait()

    begun = asyncio.Event()
    layer.transport = Silent(layer.broker, layer)
    mailbox = layer.open_mailbox("specific.x!y", lambda: None)
    async with asyncio.timeout(5):
        await begun.wait()
    (starting,) = asyncio.all_tasks() - {asyncio.current_task()}
    starting.cancel()
    await asyncio.wait((starting,))
    assert starting.cancelled()
    assert errors == []
    await mailbox.close()


def test_calls_of_sync_code_run_on_the_loop_that_lasts(make):
    layer = make()
    loops = set()

    class Where(Loopback):
        async def ready(self):
            loops.add(asyncio.get_running_loop())
            await super().ready()

    layer.transport = Where(layer.broker, layer)
    channel = async_to_sync(layer.new_channel)()
    async_to_sync(layer.group_add)("group", channel)
    async_to_sync(layer.group_add)("group", "named")
    async_to_sync(layer.group_send)("group", message(1))
    assert async_to_sync(layer.receive)(channel) == message(1)
    async_to_sync(layer.send)(channel, message(2))
    assert async_to_sync(layer.receive)(channel) == message(2)
    assert async_to_sync(layer.receive)("named") == message(1)
    assert loops == {bridge.loop}


# The end


@pytest.mark.skipif(not hasattr(os, "fork"), reason="needs fork")
def test_a_forked_child_is_a_process_of_its_own(make):
    layer = make()
    before, transport = layer.client_prefix, layer.transport
    reader, writer = os.pipe()
    child = os.fork()
    if not child:
        is_new = layer.client_prefix != before and layer.transport is not transport
        os.write(writer, b"1" if is_new and layer.transport.process != before else b"0")
        os._exit(0)
    os.waitpid(child, 0)
    with os.fdopen(reader, "rb") as answer:
        os.close(writer)
        assert answer.read() == b"1"
    assert layer.client_prefix == before


def test_a_layer_that_nobody_uses_is_gone(make):
    layer = weakref.ref(make())
    gc.collect()
    assert layer() is None


async def test_flush_forgets_what_the_process_has(make):
    layer = make()
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.send(channel, message())
    await layer.flush()
    await layer.group_send("group", message())
    assert layer.count_pending() == 0
    assert layer.statistics.dropped == {"closed": 1}


# States


async def test_states_are_for_one_place_in_encrypted_layers(make, broker, caplog):
    layer = make(symmetric_encryption_keys=["key"])
    assert await layer.set_state("jobs", "one", {"n": 1}, 3600)
    (data,) = (await layer.transport.get_states("jobs", None)).values()
    assert b"\xa1n" not in data
    await layer.transport.set_state("jobs", "two", data, 60, None, 9)
    assert await layer.get_states("jobs") == {"one": {"n": 1}}
    assert await layer.get_state("jobs", "two") is None
    assert caplog.text.count("Left out a state that cannot be read") == 2


async def test_a_state_that_is_older_than_its_seal_is_not_there(make, monkeypatch, caplog):
    layer = make(symmetric_encryption_keys=["key"], expiry=7200)
    await layer.set_state("jobs", "one", {"n": 1}, 60)
    now = sealing.wall()
    monkeypatch.setattr(sealing, "wall", lambda: now + 65)
    assert await layer.get_state("jobs", "one") == {"n": 1}, "clocks may differ a little"
    monkeypatch.setattr(sealing, "wall", lambda: now + 75)
    assert await layer.get_states("jobs") == {}
    assert not caplog.text


async def test_what_is_no_state_is_left_out(make, caplog):
    layer = make()
    await layer.set_state("jobs", "one", {"n": 1}, 60)
    await layer.transport.set_state("jobs", "two", b"\xc1", 60, None, 9)
    assert await layer.get_states("jobs") == {"one": {"n": 1}}
    assert "Left out a state that cannot be read" in caplog.text


def test_states_are_kept_from_synchronous_code(make):
    layer = make()
    assert async_to_sync(layer.set_state)("jobs", "one", {"n": 1}, 60)
    assert async_to_sync(layer.get_state)("jobs", "one") == {"n": 1}
    async_to_sync(layer.delete_state)("jobs", "one")
    assert async_to_sync(layer.get_states)("jobs") == {}

"""Text that travels beside messages, through every way of sending, and not into handlers."""

import asyncio
import logging
from datetime import UTC, datetime

import pytest

from channels._runtime.carried import KEY
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import ChannelFull
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import (
    InMemoryChannelLayer,
    carriers,
    channel_layers,
    get_channel_layer,
    get_sync_channel_layer,
    group_send_on_commit,
)
from channels.layers.third_party import adapt
from channels.testing import WebsocketCommunicator
from channels.worker import Worker

from .helpers import message, soon, until


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


class Carrier:
    """Numbers what is sent, and notes how that ended."""

    def __init__(self):
        self.asked, self.ended = [], []

    def __call__(self, sending):
        self.asked.append(sending)
        return {"n": str(len(self.asked))}, self.ended.append


@pytest.fixture
def carrier():
    carrier = Carrier()
    carriers.register(carrier)
    carriers.register(carrier)
    yield carrier
    carriers.unregister(carrier)
    carriers.unregister(carrier)
    assert carriers.carriers == []


async def test_receive_gives_the_message_as_it_was_sent(layer, carrier):
    await layer.send("queue", message(1))
    assert await soon(layer.receive("queue")) == message(1)
    assert carriers.received() == {"n": "1"}
    sending = carrier.asked[0]
    assert (sending.sender, sending.operation, sending.name) == (layer, "send", "queue")
    assert sending.message == message(1)
    assert carrier.ended == [None]


async def test_what_cannot_be_sent_is_told_to_the_carrier(layer, carrier):
    small = InMemoryChannelLayer(capacity=1)
    await small.send("queue", message())
    with pytest.raises(ChannelFull):
        await small.send("queue", message())
    assert isinstance(carrier.ended[1], ChannelFull)
    with pytest.raises(TypeError):
        await layer.send("queue", "no message")
    assert len(carrier.ended) == 3


async def test_what_a_message_brings_along_is_not_believed(layer, carrier):
    carriers.unregister(carrier)
    carriers.register(lambda sending: (None, None))
    try:
        await layer.send("queue", {**message(), KEY: '{"n":"injected"}'})
    finally:
        carriers.carriers.clear()
    assert await soon(layer.receive("queue")) == message()
    assert carriers.received() == {}


async def test_without_carriers_nothing_is_carried(layer):
    await layer.group_add("group", "queue")
    await layer.group_send("group", message())
    assert await soon(layer.receive("queue")) == message()
    assert carriers.received() == {}


async def test_messages_that_are_sent_later_carry_what_was_given_when_they_were_asked_for(
    layer, carrier
):
    await layer.group_add("group", "queue")
    await layer.send_later("queue", message(1), delay=0)
    assert await soon(layer.receive("queue")) == message(1)
    assert carriers.received() == {"n": "1"}
    await layer.group_send_later("group", message(2), at=datetime.now(UTC))
    assert await soon(layer.receive("queue")) == message(2)
    assert carriers.received() == {"n": "2"}
    assert [sending.operation for sending in carrier.asked] == ["send_later", "group_send_later"]


async def test_periodic_messages_belong_to_nobody(layer, carrier):
    await layer.send_every(0.1, "queue", message(), name="tick")
    assert await soon(layer.receive("queue")) == message()
    assert carriers.received() == {}
    assert carrier.asked == []
    await layer.cancel_every("tick")


@pytest.mark.django_db
def test_code_without_an_event_loop(layer, carrier, django_capture_on_commit_callbacks):
    sync = get_sync_channel_layer()
    sync.group_add("group", "queue")
    with django_capture_on_commit_callbacks(execute=True):
        group_send_on_commit("group", message(1))
    assert sync.receive("queue", 5) == message(1)
    assert carrier.asked[0].operation == "group_send"


async def test_handlers_and_what_they_start_find_it(layer, carrier):
    seen = []

    class Consumer(AsyncConsumer):
        async def test_message(self, event):
            seen.append((event, carriers.received()))
            self.start_background_task(self.later)

        async def later(self):
            seen.append(carriers.received())

        async def test_other(self, event):
            seen.append((event, carriers.received()))

    await _talk(Consumer, layer, seen, 3)
    assert seen == [
        (message(1), {"n": "1"}),
        {"n": "1"},
        ({"type": "test.other"}, {}),
    ]


async def test_no_handler_finds_what_came_with_the_message_before(layer, carrier):
    seen = []

    class Consumer(AsyncWebsocketConsumer):
        async def note(self, event):
            seen.append(carriers.received())

        async def receive(self, text_data=None, bytes_data=None):
            seen.append(carriers.received())

        async def disconnect(self, code):
            seen.append(carriers.received())

    client = WebsocketCommunicator(Consumer.as_asgi(), "/")
    await client.connect()
    name = next(iter(layer.channels))
    await layer.send(name, {"type": "note"})
    await until(lambda: len(seen) == 1)
    await client.send_to("text")
    await until(lambda: len(seen) == 2)
    for _ in range(2):
        await layer.send(name, {"type": "note"})
    await until(lambda: len(seen) == 4)
    await client.disconnect()
    assert seen == [{"n": "1"}, {}, {"n": "2"}, {"n": "3"}, {}]


async def test_handlers_in_threads_find_it(layer, carrier):
    seen = []

    class Consumer(SyncConsumer):
        def test_message(self, event):
            seen.append((event, carriers.received()))

        def test_other(self, event):
            seen.append((event, carriers.received()))

    await _talk(Consumer, layer, seen, 2)
    assert seen == [(message(1), {"n": "1"}), ({"type": "test.other"}, {})]


async def _talk(consumer, layer, seen, count):
    """Send a message with something to carry, and one without."""
    queue = asyncio.Queue()

    async def send(message):
        pass

    task = asyncio.ensure_future(consumer.as_asgi()({"type": "test"}, queue.get, send))
    await until(lambda: len(layer.channels) == 1)
    (channel,) = layer.channels
    await layer.send(channel, message(1))
    await until(lambda: len(seen) == count - 1)
    removed, carriers.carriers[:] = carriers.carriers[:], []
    await layer.send(channel, {"type": "test.other"})
    carriers.carriers[:] = removed
    await until(lambda: len(seen) == count)
    task.cancel()
    await asyncio.wait([task])


async def test_a_layer_that_overrides_receive(carrier):
    class Own(InMemoryChannelLayer):
        async def receive(self, channel):
            return {**await super().receive(channel), "passed": True}

    seen, layer = [], Own()
    old = channel_layers.set("default", layer)

    class Consumer(AsyncConsumer):
        async def test_message(self, event):
            seen.append((event, carriers.received()))

        test_other = test_message

    try:
        await _talk(Consumer, layer, seen, 2)
    finally:
        channel_layers.set("default", old)
    assert seen == [
        ({**message(1), "passed": True}, {"n": "1"}),
        ({"type": "test.other", "passed": True}, {}),
    ]


async def test_workers(layer, carrier):
    seen = []

    class Jobs(AsyncConsumer):
        async def test_message(self, event):
            seen.append((event, carriers.received()))

    worker = Worker(Jobs.as_asgi(), ["queue"], layer)
    running = asyncio.ensure_future(worker.arun())
    await layer.send("queue", message(1))
    await layer.send("queue", message(2))
    await until(lambda: len(seen) == 2)
    worker.stop()
    await soon(running)
    assert seen == [(message(1), {"n": "1"}), (message(2), {"n": "2"})]


# Layers of others


class Foreign:
    """Knows nothing of all this."""

    def __init__(self):
        self.queues = {}

    async def send(self, channel, message):
        self.queues.setdefault(channel, asyncio.Queue()).put_nowait(message)

    group_send = send

    async def receive(self, channel):
        return await self.queues.setdefault(channel, asyncio.Queue()).get()


@pytest.fixture
def foreign(settings):
    settings.CHANNEL_LAYERS = {
        "default": {"BACKEND": f"{__name__}.Foreign"},
        "slotted": {"BACKEND": f"{__name__}.Slotted"},
        "small": {"BACKEND": f"{__name__}.Small"},
    }


async def test_a_layer_of_others_carries_too(foreign, carrier):
    layer = get_channel_layer()
    await layer.send("a", message(1))
    await adapt(layer).group_send("a", message(2))
    assert KEY in layer.queues["a"]._queue[0]
    assert await layer.receive("a") == message(1)
    assert carriers.received() == {"n": "1"}
    assert await adapt(layer).receive("a") == message(2)
    assert carriers.received() == {"n": "2"}


async def test_a_layer_of_others_that_was_there_first(foreign):
    layer, carrier = get_channel_layer(), Carrier()
    assert "send" not in vars(layer)
    carriers.register(carrier)
    await layer.send("a", message(1))
    carriers.unregister(carrier)
    await layer.send("a", message(2))
    assert await layer.receive("a") == message(1)
    assert carriers.received() == {"n": "1"}
    assert await layer.receive("a") == message(2)
    assert carriers.received() == {}


class Slotted:
    __slots__ = ()

    async def send(self, channel, message):
        """Send nothing."""


class Small:
    async def receive(self, channel):
        """Receive nothing."""


async def test_a_layer_that_takes_no_attributes(foreign, carrier, caplog):
    with caplog.at_level(logging.WARNING, "channels.layers"):
        await get_channel_layer("slotted").send("a", message())
    assert "Slotted takes no new attributes: what it sends carries no context" in caplog.text
    assert get_channel_layer("small") is not None


async def test_a_layer_that_cannot_be_referred_to(foreign):
    assert get_channel_layer("slotted") is not None


# Carriers that fail


async def test_a_carrier_that_fails_keeps_no_message_back(layer, caplog):
    def broken(sending):
        raise ValueError("of the carrier")

    def ends_badly(error):
        raise ValueError("at the end")

    carriers.register(broken)
    carriers.register(lambda sending: ({"ok": "1"}, ends_badly))
    try:
        with caplog.at_level(logging.ERROR, "channels.layers"):
            await layer.send("queue", message())
    finally:
        carriers.carriers.clear()
    assert await soon(layer.receive("queue")) == message()
    assert carriers.received() == {"ok": "1"}
    assert "of the carrier" in caplog.text
    assert "at the end" in caplog.text


def test_what_is_no_message(carrier):
    with carriers.encoded("backend", "enqueue", "task", {}) as text:
        assert text == '{"n":"1"}'
    with pytest.raises(ValueError, match="lost"), carriers.encoded("b", "enqueue", "t", {}):
        raise ValueError("lost")
    assert [type(error) for error in carrier.ended] == [type(None), ValueError]
    carriers.unregister(carrier)
    with carriers.encoded("backend", "enqueue", "task", {}) as text:
        assert text == ""

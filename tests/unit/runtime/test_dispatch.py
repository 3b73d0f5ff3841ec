"""Handlers: which are called, in which order, and how often."""

import asyncio
import contextvars
import logging
import threading

import pytest
from asgiref.sync import async_to_sync, sync_to_async

from channels._runtime import intake, tallies
from channels.consumer import AsyncConsumer
from channels.exceptions import StopConsumer, UnknownMessageType
from channels.generic.websocket import (
    WebsocketConsumer,
)
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer
from channels.testing import ApplicationCommunicator
from tests.asgi import Server, until
from tests.unit.runtime.recorder import Recorder

pytestmark = pytest.mark.usefixtures("layer")


# One instance, one task that dispatches, one more that reads; no task per message


async def test_two_tasks_and_no_thread_per_message():
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append((asyncio.current_task(), threading.get_ident()))

    before = asyncio.all_tasks()
    created = []
    loop = asyncio.get_running_loop()
    loop.set_task_factory(
        lambda loop, coro, **kw: created.append(coro) or asyncio.Task(coro, loop=loop, **kw)
    )
    try:
        server = await Server(Consumer.as_asgi()).connect()
        for number in range(50):
            server.text(str(number))
        await until(lambda: len(Consumer.made[0].log) == 50)
        assert len(created) == 2
        assert len(Consumer.made) == 1
        [(task, thread)] = set(Consumer.made[0].log)
        assert {task, server.task} == asyncio.all_tasks() - before
        assert thread == threading.get_ident()
        await server.leave()
    finally:
        loop.set_task_factory(None)
    assert asyncio.all_tasks() == before


async def test_context_variables_set_in_a_handler_are_seen_by_the_next():
    variable = contextvars.ContextVar("variable")

    class Consumer(Recorder):
        async def connect(self):
            variable.set("set in connect")
            await self.accept()

        async def note(self, event):
            self.log.append(variable.get())

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    await consumer.channel_layer.send(consumer.channel_name, {"type": "note"})
    await until(lambda: consumer.log)
    assert consumer.log == ["set in connect"]
    await server.leave()


# One at a time, in order per source, no starvation, bounded read-ahead


async def test_handlers_run_one_at_a_time_and_in_order(layer):
    class Consumer(Recorder):
        running = 0

        async def handle(self, entry):
            assert self.running == 0
            self.running += 1
            await asyncio.sleep(0)
            self.running -= 1
            self.log.append(entry)

        async def receive(self, text_data=None, bytes_data=None):
            await self.handle(("client", int(text_data)))

        async def note(self, event):
            await self.handle(("layer", event["n"]))

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    for n in range(50):
        server.text(str(n))
        await layer.send(consumer.channel_name, {"type": "note", "n": n})
    await until(lambda: len(consumer.log) == 100)
    for source in ("client", "layer"):
        assert [n for s, n in consumer.log if s == source] == list(range(50))
    await server.leave()


@pytest.mark.parametrize("busy", ["client", "layer"])
async def test_a_flood_from_one_source_does_not_starve_the_other(layer, busy):
    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            self.log.append("client")
            if busy == "client":
                self.server.text("more")
            await asyncio.sleep(0)

        async def note(self, event):
            self.log.append("layer")
            if busy == "layer":
                await layer.send(self.channel_name, {"type": "note"})

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    consumer.server = server
    for _ in range(5):
        server.text("x")
        await layer.send(consumer.channel_name, {"type": "note"})
    quiet = "layer" if busy == "client" else "client"
    await until(lambda: consumer.log.count(quiet) == 5)
    last = len(consumer.log) - 1 - consumer.log[::-1].index(quiet)
    assert consumer.log[:last].count(busy) <= 20
    await server.leave()


async def test_a_consumer_that_never_waits_lets_the_loop_run():
    """Its own handlers keep it busy for ever, and still others get their turn."""

    class Consumer(Recorder):
        async def note(self, event):
            await self.channel_layer.send(self.channel_name, {"type": "note"})

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    await consumer.channel_layer.send(consumer.channel_name, {"type": "note"})
    for _ in range(20):
        await asyncio.sleep(0)
    await server.leave()
    assert consumer.codes() == [1001]


async def test_a_slow_handler_pushes_back_on_the_client():
    release = asyncio.Event()

    class Consumer(Recorder):
        async def receive(self, text_data=None, bytes_data=None):
            await release.wait()
            self.log.append(text_data)

    server = await Server(Consumer.as_asgi()).connect()
    for number in range(100):
        server.text(str(number))
    await until(lambda: server.received >= intake.READ_AHEAD)
    for _ in range(10):
        await asyncio.sleep(0)
    assert server.received <= intake.READ_AHEAD + 2  # one handled, one in hand
    release.set()
    await until(lambda: len(Consumer.made[0].log) == 100)
    assert Consumer.made[0].log == [str(n) for n in range(100)]
    await server.leave()


# Only handlers can be called


@pytest.mark.parametrize("name", ["accept", "close", "send", "base.send", "channel_layer", "nope"])
async def test_a_layer_message_that_names_no_handler_is_dropped_with_a_warning(layer, caplog, name):
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    await layer.send(consumer.channel_name, {"type": name})
    await layer.send(consumer.channel_name, {"type": "note", "text": "after"})
    await until(lambda: consumer.log)
    assert consumer.log == ["after"]
    assert server.types() == ["websocket.accept"]
    [record] = caplog.records
    assert record.levelno == logging.WARNING
    assert record.exc_info is None
    assert name in record.getMessage()
    await server.leave()


@pytest.mark.parametrize("message", [{}, {"type": 3}, {"type": None}, {"type": "_private"}])
async def test_a_layer_message_without_a_proper_type_is_dropped_with_a_warning(
    layer, caplog, message
):
    class Consumer(Recorder):
        pass

    server = await Server(Consumer.as_asgi()).connect()
    consumer = Consumer.made[0]
    await layer.send(consumer.channel_name, message)
    await layer.send(consumer.channel_name, {"type": "note", "text": "after"})
    await until(lambda: consumer.log)
    assert len(caplog.records) == 1
    await server.leave()


@pytest.mark.parametrize("message", [{"no": "type"}, {"type": None}])
async def test_an_event_without_a_type_raises_in_a_protocol_that_has_no_disconnect(message):
    application = AsyncConsumer.as_asgi()
    communicator = ApplicationCommunicator(application, {"type": "channel", "channel": "a"})
    await communicator.send_input(message)
    with pytest.raises(UnknownMessageType):
        await communicator.wait()


async def test_an_event_without_a_handler_closes_with_one_line(caplog):
    class Consumer(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.ended()
    assert server.sent[-1] == {"type": "websocket.close", "code": 1011}
    [record] = caplog.records
    assert record.exc_info is None
    assert "No handler for message type websocket.receive" in record.getMessage()


# Sync consumers


async def test_a_blocking_handler_does_not_stop_the_others():
    entered, release = threading.Event(), threading.Event()

    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            if text_data == "block":
                entered.set()
                assert release.wait(10)
            self.send(text_data=text_data)

    blocked = await Server(Consumer.as_asgi()).connect()
    other = await Server(Consumer.as_asgi()).connect()
    blocked.text("block")
    blocked.text("next")
    await until(entered.is_set)
    other.text("free")
    await until(lambda: other.texts() == ["free"])
    assert blocked.texts() == []
    release.set()
    await until(lambda: blocked.texts() == ["block", "next"])
    await blocked.leave()
    await other.leave()


async def test_a_sync_handler_keeps_its_thread_through_async_code():
    class Consumer(WebsocketConsumer):
        def receive(self, text_data=None, bytes_data=None):
            async def back_and_forth():
                return await sync_to_async(threading.get_ident)()

            own = threading.get_ident()
            self.send(text_data=str(async_to_sync(back_and_forth)() == own))

    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await until(server.texts)
    assert server.texts() == ["True"]
    await server.leave()


# Overflow


async def test_a_consumer_that_cannot_keep_up_is_closed_with_1013(caplog):
    layer = InMemoryChannelLayer(capacity=5, overflow="disconnect")
    channel_layers.set("default", layer)
    release = asyncio.Event()

    class Consumer(Recorder):
        groups = ["room"]

        async def note(self, event):
            await release.wait()

    server = await Server(Consumer.as_asgi()).connect()
    for _ in range(20):
        await layer.group_send("room", {"type": "note", "text": "x"})
        await asyncio.sleep(0)
    release.set()
    await until(lambda: len(server.sent) == 2)
    assert server.sent[1] == {"type": "websocket.close", "code": 1013}
    await server.leave(1013)
    statistics = layer.statistics
    assert statistics.sent == 20 == statistics.delivered + sum(statistics.dropped.values())


# Without a layer


async def test_without_a_layer_a_consumer_works(settings):
    settings.CHANNEL_LAYERS = {}

    class Consumer(Recorder):
        pass

    assert get_channel_layer() is None
    server = await Server(Consumer.as_asgi()).connect()
    server.text("x")
    await server.leave()
    assert Consumer.made[0].channel_layer is None
    assert Consumer.made[0].log == ["x", ("disconnect", 1001)]


@pytest.mark.parametrize("message_type", ["a.b", None, 7, ["a"]])
async def test_what_a_dispatch_of_its_own_takes_is_timed_whatever_its_type(
    monkeypatch, message_type
):
    monkeypatch.setattr(tallies, "counting", True)
    monkeypatch.setattr(tallies, "tallies", {})

    class Consumer(AsyncConsumer):
        async def dispatch(self, message):
            raise StopConsumer

    queue = asyncio.Queue()
    queue.put_nowait({"type": message_type})
    await Consumer.as_asgi()({"type": "test"}, queue.get, None)
    [tally] = tallies.tallies.values()
    known = message_type if isinstance(message_type, str) else tallies.OTHER
    assert {name: sum(each.counts) for name, each in tally.handlers.items()} == {known: 1}

"""``on_worker_shutdown``: once for each consumer of a worker, however it ends, and for no other."""

import asyncio
import threading

import pytest
from asgiref.testing import ApplicationCommunicator

from channels.consumer import AsyncConsumer, SyncConsumer
from channels.exceptions import InvalidMethodError, StopConsumer, UnknownMessageType
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.testing import WebsocketCommunicator
from channels.worker import Worker

from ..asgi import until
from .worker.working import DEADLINE, working


@pytest.fixture
def layer():
    layer = InMemoryChannelLayer()
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)


@pytest.fixture
def told():
    """What consumers did, in order."""
    return []


class Async(AsyncConsumer):
    def __init__(self, told):
        self.told = told

    async def job(self, message):
        self.told.append("job")
        match message.get("then"):
            case "fail":
                raise ValueError("asked to fail")
            case "stop":
                raise StopConsumer
            case "hang":
                await asyncio.Event().wait()

    async def on_worker_shutdown(self):
        await asyncio.sleep(0)
        await self.channel_layer.send("answers", {"type": "answer"})
        self.told.append("shutdown")


class Sync(SyncConsumer):
    thread = None

    def __init__(self, told):
        self.told = told

    def job(self, message):
        self.told.append("job")
        self.thread = threading.current_thread()
        match message.get("then"):
            case "fail":
                raise ValueError("asked to fail")
            case "stop":
                raise StopConsumer

    def on_worker_shutdown(self):
        assert self.thread in {None, threading.current_thread()}
        self.told.append("shutdown")


@pytest.mark.parametrize("consumer", [Async, Sync])
@pytest.mark.parametrize("concurrency", [1, 2])
async def test_it_is_called_when_the_worker_ends(layer, told, consumer, concurrency):
    worker = Worker(consumer.as_asgi(told=told), ["a"], layer, concurrency=concurrency)
    async with working(worker):
        await layer.send("a", {"type": "job"})
        await until(lambda: told)
        await asyncio.sleep(0.01)
        assert told == ["job"]
    assert told == ["job", "shutdown"]


@pytest.mark.parametrize("consumer", [Async, Sync])
@pytest.mark.parametrize("then", ["fail", "stop"])
async def test_it_is_called_when_a_handler_ends_the_consumer(layer, told, consumer, then):
    async with working(Worker(consumer.as_asgi(told=told), ["a"], layer)):
        for _ in range(2):
            await layer.send("a", {"type": "job", "then": then})
        await until(lambda: len(told) == 4)
    assert told == ["job", "shutdown", "job", "shutdown"]


async def test_it_is_called_when_a_message_has_no_handler(layer, told):
    async with working(Worker(Async.as_asgi(told=told), ["a"], layer)):
        await layer.send("a", {"type": "newer"})
        await until(lambda: told)
    assert told == ["shutdown"]


@pytest.mark.parametrize("limit", ["drain", "timeout"])
async def test_it_is_called_when_a_handler_is_cancelled(layer, told, limit):
    timeout = 0.05 if limit == "timeout" else None
    worker = Worker(Async.as_asgi(told=told), ["a"], layer, handler_timeout=timeout)
    worker.drain_timeout = 0.05 if limit == "drain" else DEADLINE
    async with working(worker):
        await layer.send("a", {"type": "job", "then": "hang"})
        await until(lambda: told)
        if limit == "timeout":
            await until(lambda: len(told) == 2)
    assert told == ["job", "shutdown"]
    assert await layer.receive("answers") == {"type": "answer"}  # the layer could be used


async def test_it_is_called_for_the_consumer_that_makes_room(layer, told):
    application = Async.as_asgi(told=told)
    async with working(Worker(application, ["a", "b"], layer, max_applications=1)):
        for channel in "ab":
            await layer.send(channel, {"type": "job"})
            await until(lambda channel=channel: len(told) == {"a": 1, "b": 3}[channel])
        assert sorted(told[1:]) == ["job", "shutdown"]


async def test_it_has_no_longer_than_the_worker_may_drain(layer, told):
    class Endless(Async):
        async def on_worker_shutdown(self):
            try:
                await asyncio.Event().wait()
            finally:
                self.told.append("cancelled")

    worker = Worker(Endless.as_asgi(told=told), ["a"], layer)
    worker.drain_timeout = 0.05
    async with working(worker):
        await layer.send("a", {"type": "job"})
        await until(lambda: told)
    assert told == ["job", "cancelled"]


async def test_what_it_raises_is_logged_and_hinders_nothing(layer, told, caplog):
    class Failing(Async):
        async def on_worker_shutdown(self):
            raise ValueError("cannot be saved")

    async with working(Worker(Failing.as_asgi(told=told), ["a"], layer)):
        for then in ("stop", None):
            await layer.send("a", {"type": "job", "then": then})
        await until(lambda: told == ["job", "job"])
    records = [record for record in caplog.records if record.exc_info]
    assert [str(record.exc_info[1]) for record in records] == ["cannot be saved"] * 2


class AsyncWithPlain(Async):
    def on_worker_shutdown(self):
        pass


class SyncWithCoroutine(Sync):
    async def on_worker_shutdown(self):
        pass


@pytest.mark.parametrize("consumer", [AsyncWithPlain, SyncWithCoroutine])
async def test_one_of_the_wrong_kind_is_named(layer, told, caplog, consumer):
    async with working(Worker(consumer.as_asgi(told=told), ["a"], layer)):
        await layer.send("a", {"type": "job"})
        await until(lambda: told)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert isinstance(record.exc_info[1], InvalidMethodError)
    assert f"{consumer.__name__}.on_worker_shutdown()" in str(record.exc_info[1])


async def test_a_type_error_within_it_is_told_as_it_is(layer, told, caplog):
    class Failing(Async):
        async def on_worker_shutdown(self):
            len(3)

    async with working(Worker(Failing.as_asgi(told=told), ["a"], layer)):
        await layer.send("a", {"type": "job"})
        await until(lambda: told)
    (record,) = [record for record in caplog.records if record.exc_info]
    assert type(record.exc_info[1]) is TypeError


@pytest.mark.parametrize("message_type", ["on_worker_shutdown", "on.worker.shutdown"])
@pytest.mark.parametrize("consumer", [Async, Sync])
async def test_no_message_may_call_it(layer, told, consumer, message_type):
    communicator = ApplicationCommunicator(
        consumer.as_asgi(told=told), {"type": "channel", "channel": "a"}
    )
    await communicator.send_input({"type": message_type})
    with pytest.raises(UnknownMessageType, match="names a method of the framework"):
        await communicator.wait()
    assert told == ["shutdown"]  # this end of it, and not the message


async def test_consumers_of_connections_have_no_such_end(layer, told):
    class Socket(AsyncWebsocketConsumer):
        async def on_worker_shutdown(self):
            told.append("shutdown")

        async def disconnect(self, code):
            told.append("disconnect")

    async with WebsocketCommunicator(Socket.as_asgi(), "/"):
        pass
    assert told == ["disconnect"]


async def test_by_default_it_does_nothing(layer, caplog):
    class Plain(AsyncConsumer):
        async def job(self, message):
            done.release()

    class PlainSync(SyncConsumer):
        def job(self, message):
            loop.call_soon_threadsafe(done.release)

    done, loop = asyncio.Semaphore(0), asyncio.get_running_loop()
    for consumer in (Plain, PlainSync):
        async with working(Worker(consumer.as_asgi(), ["a"], layer)):
            await layer.send("a", {"type": "job"})
            await asyncio.wait_for(done.acquire(), DEADLINE)
    assert caplog.records == []

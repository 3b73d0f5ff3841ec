"""The client's events, sent through the channel layer: as in earlier versions, with one end."""

import asyncio
import gc
import weakref

import pytest
from asgiref.sync import async_to_sync

from channels._runtime import lifecycle
from channels._runtime.layer_events import client_event
from channels.consumer import AsyncConsumer
from channels.exceptions import UnknownMessageType
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until

pytestmark = pytest.mark.usefixtures("layer")


class AsyncRecorder(AsyncWebsocketConsumer):
    async def connect(self):
        self.log.append("connect")
        self.log.name = self.channel_name
        await self.accept()

    async def receive(self, **data):
        self.log.append(data)

    async def disconnect(self, code):
        self.log.append(("disconnect", code))


class SyncRecorder(WebsocketConsumer):
    def connect(self):
        self.log.append("connect")
        self.log.name = self.channel_name
        self.accept()

    def receive(self, **data):
        self.log.append(data)

    def disconnect(self, code):
        self.log.append(("disconnect", code))


class Log(list):
    name: str


@pytest.fixture(params=[AsyncRecorder, SyncRecorder])
def recorder(request):
    return type("Recorder", (request.param,), {"log": Log()})


async def send(recorder, **message):
    await get_channel_layer().send(recorder.log.name, message)


@pytest.mark.parametrize("event", ["websocket.receive", "websocket_receive"])
async def test_receive(recorder, event):
    server = await Server(recorder.as_asgi()).connect()
    await send(recorder, type=event, text="hello")
    await send(recorder, type=event, bytes=b"hello", text=None)
    await until(lambda: len(recorder.log) == 3)
    assert recorder.log[1:] == [{"text_data": "hello"}, {"bytes_data": b"hello"}]
    await server.leave()


@pytest.mark.parametrize("data", [{}, {"text": None}, {"text": {"a": 1}}, {"bytes": "text"}])
async def test_receive_without_data(recorder, data, caplog):
    server = await Server(recorder.as_asgi()).connect()
    await send(recorder, type="websocket.receive", **data)
    await until(lambda: caplog.records)
    assert "websocket.receive has neither a text nor bytes" in caplog.text
    await server.leave()
    assert recorder.log == ["connect", ("disconnect", 1001)]


@pytest.mark.parametrize("event", ["websocket.disconnect", "websocket_disconnect"])
@pytest.mark.parametrize(
    ("code", "expected"),
    [({}, 1000), ({"code": 4001}, 4001), ({"code": 1006}, 1000), ({"code": "x"}, 1000)],
)
async def test_disconnect_ends_the_connection_once(recorder, event, code, expected):
    server = await Server(recorder.as_asgi()).connect()
    await send(recorder, type=event, **code)
    await until(server.task.done)
    server.task.result()
    assert server.sent[1:] == [{"type": "websocket.close", "code": expected}]
    assert recorder.log == ["connect", ("disconnect", expected)]
    assert get_channel_layer().groups == {}


async def test_disconnect_after_close(recorder):
    """The consumer has closed, and the server's event is still to come."""
    server = await Server(recorder.as_asgi()).connect()
    consumer_closes = {"type": "websocket.disconnect", "code": 4002}
    layer = get_channel_layer()
    await layer.send(recorder.log.name, consumer_closes)
    await layer.send(recorder.log.name, consumer_closes)
    server.put("websocket.disconnect", code=4002)
    await server.ended()
    assert recorder.log == ["connect", ("disconnect", 4002)]


@pytest.mark.parametrize("event", ["websocket.connect", "websocket_connect"])
async def test_connect_is_not_run_again(recorder, event, caplog):
    server = await Server(recorder.as_asgi()).connect()
    await send(recorder, type=event)
    await send(recorder, type="websocket.receive", text="hello")
    await until(lambda: len(recorder.log) == 2)
    [record] = caplog.records
    assert "websocket.connect comes from the server, and once" in record.message
    await server.leave()
    assert recorder.log == ["connect", {"text_data": "hello"}, ("disconnect", 1001)]
    assert server.types() == ["websocket.accept"]


async def test_a_test_gets_an_error(recorder):
    communicator = WebsocketCommunicator(recorder.as_asgi(), "/")
    await communicator.connect()
    await send(recorder, type="websocket.connect")
    with pytest.raises(UnknownMessageType, match="comes from the server, and once"):
        await communicator.receive_from()


async def test_rubbish_from_the_layer_is_not_the_clients_fault(caplog):
    class Consumer(AsyncJsonWebsocketConsumer):
        log = Log()

        async def connect(self):
            self.log.name = self.channel_name
            await self.accept()

    server = await Server(Consumer.as_asgi()).connect()
    await send(Consumer, type="websocket.receive", text="{")
    await until(lambda: len(server.sent) > 1)
    assert server.sent[1] == {"type": "websocket.close", "code": 1011}
    await server.leave(1011)
    [record] = caplog.records
    assert record.levelname == "ERROR"


@pytest.mark.parametrize("base", [AsyncJsonWebsocketConsumer, JsonWebsocketConsumer])
@pytest.mark.parametrize("message_type", ["send_json", "send.json"])
async def test_a_group_sends_json(base, message_type):
    class Consumer(base):
        groups = ["everybody"]

    server = await Server(Consumer.as_asgi()).connect()
    message = {"type": message_type, "data": {"price": 5}}
    await get_channel_layer().group_send("everybody", message)
    await until(server.texts)
    assert server.texts() == [await encoded(Consumer, message)]
    await server.leave()


async def encoded(consumer_class, content):
    text = consumer_class.encode_json(content)
    return await text if asyncio.iscoroutine(text) else text


async def test_disconnect_of_a_request(layer):
    ended = []

    class Consumer(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            await self.send_body(b"x", more_body=True)
            ended.append(self.channel_name)

        async def disconnect(self):
            ended.append("disconnect")

    server = Server(Consumer.as_asgi(), "http", method="GET").start()
    server.put("http.request")
    await until(lambda: ended)
    await layer.send(ended[0], {"type": "http_disconnect"})
    await server.ended()
    assert ended[1:] == ["disconnect"]


async def test_a_plain_consumer_has_its_own_handlers(layer):
    """``websocket.connect`` is an ordinary name where no WebSocket is."""
    log = []

    class Consumer(AsyncConsumer):
        async def test_begin(self, message):
            log.append(self.channel_name)

        async def websocket_connect(self, message):
            log.append(message["type"])

    server = Server(Consumer.as_asgi(), "test").start()
    server.put("test.begin")
    await until(lambda: log)
    await layer.send(log[0], {"type": "websocket.connect"})
    await until(lambda: len(log) == 2)
    server.task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await server.ended()


@pytest.mark.parametrize("base", [AsyncWebsocketConsumer, WebsocketConsumer])
async def test_a_class_that_has_served_is_freed(base):
    class Consumer(base):
        groups = ["everybody"]

        if base is AsyncWebsocketConsumer:

            async def note(self, message):
                await self.send("noted")
        else:

            def note(self, message):
                self.send("noted")
                async_to_sync(self.channel_layer.group_add)("others", self.channel_name)

    server = await Server(Consumer.as_asgi()).connect()
    await get_channel_layer().group_send("everybody", {"type": "note"})
    await until(server.texts)
    await server.leave()
    gone = weakref.ref(Consumer)
    del Consumer, server

    def freed():
        gc.collect()
        return gone() is None

    await until(freed)


@pytest.mark.parametrize("ends", ["by a message", "by itself"])
async def test_disconnect_takes_its_time_whatever_the_client_does_meanwhile(ends, monkeypatch):
    monkeypatch.setattr(lifecycle, "CLOSE_TIMEOUT", 0.01)
    gate, log = asyncio.Event(), Log()

    class Consumer(AsyncRecorder):
        disconnect_grace = 0.0

        async def receive(self, **data):
            await self.close()

        async def disconnect(self, code):
            self.log.append("begun")
            await gate.wait()
            self.log.append("done")

    Consumer.log = log
    server = await Server(Consumer.as_asgi()).connect()
    if ends == "by a message":
        await get_channel_layer().send(log.name, {"type": "websocket.disconnect"})
    else:
        server.text("close")
    await until(lambda: "begun" in log)
    server.put("websocket.disconnect", code=1000)
    await asyncio.sleep(0.1)  # for what would cancel it
    gate.set()
    await server.ended()
    assert log == ["connect", "begun", "done"]


@pytest.mark.parametrize(
    ("message", "protocol", "event"),
    [
        ({"type": "websocket_receive", "text": "x"}, "websocket", {"type": "websocket.receive"}),
        ({"type": "websocket.disconnect"}, "websocket", {"code": 1000}),
        ({"type": "websocket.disconnect", "code": 4000}, "websocket", {"code": 4000}),
        ({"type": "websocket.disconnect", "code": True}, "websocket", {"code": 1000}),
        ({"type": "http_disconnect"}, "http", {"type": "http.disconnect"}),
        ({"type": "websocket_receive"}, "http", {"type": "websocket_receive"}),
    ],
)
def test_an_event_is_as_the_server_would_send_it(message, protocol, event):
    sent = dict(message)
    made = client_event(message, protocol)
    assert {**made, **event} == made
    assert message == sent  # which others may have too


@pytest.mark.parametrize(
    "message", [{"type": "websocket.connect"}, {"type": "websocket.receive", "text": b"x"}]
)
def test_an_event_that_cannot_have_happened_is_refused(message):
    with pytest.raises(UnknownMessageType):
        client_event(message, "websocket")

"""A handshake that the consumer does not answer is refused, and nothing of it stays."""

import asyncio
import threading

import pytest

from channels import signals
from channels._runtime.connections import connections
from channels._runtime.handshake import HandshakeLimit
from channels._runtime.intake import Intake
from channels._runtime.lifecycle import CLOSED, Lifecycle
from channels._runtime.running_handler import RunningHandler
from channels.consumer import AsyncConsumer
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator
from tests.asgi import Server, until

pytestmark = pytest.mark.usefixtures("layer")

EXTENSIONS = {"websocket.http.response": {}}


@pytest.fixture
def refused():
    """What the listeners were told."""
    told = []

    def listen(signal, sender, scope, reason, status):
        told.append((sender, status))

    signals.connection_refused.connect(listen)
    yield told
    signals.connection_refused.disconnect(listen)


class AsyncSilent(AsyncWebsocketConsumer):
    """Returns from ``connect()`` without an answer."""

    groups = ["everybody"]
    handshake_timeout = 0.05
    codes: list

    async def connect(self):
        pass

    async def disconnect(self, code):
        self.codes.append(code)


class SyncSilent(WebsocketConsumer):
    groups = ["everybody"]
    handshake_timeout = 0.05
    codes: list

    def connect(self):
        pass

    def disconnect(self, code):
        self.codes.append(code)


class AsyncHanging(AsyncSilent):
    async def connect(self):
        await asyncio.Event().wait()


@pytest.fixture(params=[AsyncSilent, SyncSilent, AsyncHanging])
def consumer(request):
    return type("Consumer", (request.param,), {"codes": []})


async def check_refused(server, consumer, caplog, refused):
    await until(server.task.done)
    server.task.result()
    assert consumer.codes == [1006]
    assert refused == [(consumer, 503)]
    [record] = caplog.records
    assert record.name == "channels.handshake"
    assert "Consumer has neither accepted nor closed it within 0.05 s" in record.message
    assert "handshake_timeout" in record.message
    assert get_channel_layer().groups == {}
    assert not connections.get().open


@pytest.mark.parametrize("extensions", [EXTENSIONS, {}])
async def test_a_handshake_that_is_late_is_refused(consumer, extensions, caplog, refused):
    server = Server(consumer.as_asgi(), extensions=extensions)
    await server.connect()
    await check_refused(server, consumer, caplog, refused)
    if extensions:
        assert server.sent[0]["status"] == 503
    else:
        assert server.sent == [{"type": "websocket.close"}]


async def test_a_late_handshake_is_refused_while_its_thread_hangs(caplog, refused):
    """Its client is refused in time; the consumer ends when the thread does."""
    gate = threading.Event()

    class Consumer(SyncSilent):
        codes = []

        def connect(self):
            gate.wait(30)
            self.accept()  # too late

    server = await Server(Consumer.as_asgi(), extensions=EXTENSIONS).connect()
    assert server.sent[0]["status"] == 503
    assert not server.task.done()
    gate.set()
    await check_refused(server, Consumer, caplog, refused)
    assert len(server.sent) == 2  # the answer's head and body


async def test_a_client_that_left_before_the_limit_is_not_refused(consumer, caplog, refused):
    """There is no client any more to refuse."""
    server = Server(consumer.as_asgi(), extensions=EXTENSIONS)
    server.put("websocket.connect")
    server.put("websocket.disconnect", code=1006)
    await server.start().ended()
    assert refused == server.sent == []
    assert consumer.codes == [1006]


async def test_a_refusal_is_waited_for_when_the_application_is_cancelled(consumer, caplog, refused):
    """The refusal is under way when the application is cancelled."""
    sending = asyncio.Event()

    async def slow(message):
        sending.set()
        await asyncio.sleep(0.05)

    server = Server(consumer.as_asgi(), extensions=EXTENSIONS)
    server.on_send = slow
    server.put("websocket.connect")
    server.start()
    await sending.wait()
    server.task.cancel()
    await until(server.task.done)
    assert [message["type"] for message in server.sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert consumer.codes == [1006]


async def test_a_server_that_cannot_refuse_any_more(consumer, caplog, refused):
    async def fail(message):
        raise RuntimeError("too late")

    server = Server(consumer.as_asgi(), extensions=EXTENSIONS)
    server.on_send = fail
    server.put("websocket.connect")
    server.start()
    await check_refused(server, consumer, caplog, refused)


@pytest.mark.parametrize("timeout", [0.05, None])
async def test_a_client_that_was_accepted_in_time_stays(timeout, refused):
    class Consumer(AsyncSilent):
        codes = []
        handshake_timeout = timeout

        async def connect(self):
            await self.accept()

        async def receive(self, text_data=None, bytes_data=None):
            await self.send(text_data)

    server = await Server(Consumer.as_asgi()).connect()
    await asyncio.sleep(0.1)
    server.text("still here")
    await until(server.texts)
    await server.leave()
    assert refused == []


@pytest.mark.parametrize("timeout", [0.01, None])
async def test_tests_have_no_such_limit(consumer, timeout, refused):
    consumer.handshake_timeout = timeout
    communicator = WebsocketCommunicator(consumer.as_asgi(), "/")
    await communicator.send_input({"type": "websocket.connect"})
    assert await communicator.receive_nothing(0.05)
    await communicator.disconnect()
    assert refused == []


def test_the_default():
    assert AsyncConsumer.handshake_timeout == 30.0


async def test_a_client_that_leaves_just_when_it_is_late_is_not_answered(refused, caplog):
    class Leaving(Lifecycle):
        def turned_away(self, code=None):
            super().turned_away(code)
            self.client_left()  # before the task that refuses has begun

    sent = []

    async def send(message):
        sent.append(message)

    consumer = AsyncSilent()
    consumer.scope = {"type": "websocket", "asgi": {}, "path": "/"}
    handler = RunningHandler(consumer)
    life = Leaving("websocket", Intake("websocket.disconnect"), handler)
    limit = HandshakeLimit(0.0, consumer, send, life, handler)
    await until(lambda: life.phase is CLOSED)
    await limit.finish()
    assert sent == refused == caplog.records == []
    life.ended()

"""One connection whose user may not go on: what is cut, and what may end by itself."""

import asyncio

import pytest

from channels._runtime import connection as module
from channels._runtime.connections import connections
from channels.consumer import AsyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.longpoll import AsyncLongPollConsumer
from channels.generic.sse import AsyncSseConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import Server, until

DENIAL = {"extensions": {"websocket.http.response": {}}}
REASON = "signed out"

pytestmark = pytest.mark.usefixtures("layer")


@pytest.fixture
def log():
    return []


@pytest.fixture(autouse=True)
def soon(monkeypatch):
    monkeypatch.setattr(module, "RESPONSE_GRACE", 0.01)


def disconnect():
    [connection] = connections.get().open
    return connection.disconnect(4401, REASON)


class Talking(AsyncWebsocketConsumer):
    async def connect(self):
        self.log = self.scope["log"]
        await self.accept()

    async def receive(self, text_data):
        self.log.append(text_data)
        if text_data == "slow":
            await asyncio.sleep(0.05)

    async def disconnect(self, code):
        self.log.append(code)


async def test_a_socket_is_closed_with_code_and_reason(log):
    server = await Server(Talking.as_asgi(), log=log).connect()
    [connection] = connections.get().open
    assert connection.scope is connection.consumer.scope
    assert connection.channel_name == connection.consumer.channel_name
    assert connection.opened_at is not None
    await disconnect()
    assert server.sent[1:] == [{"type": "websocket.close", "code": 4401, "reason": REASON}]
    assert connection.disconnect(4401, REASON) is None
    await server.leave(1000)
    assert log == [4401]


async def test_what_the_client_has_sent_already_is_not_handled_any_more(log):
    server = await Server(Talking.as_asgi(), log=log).connect()
    server.text("slow")
    server.text("posted too late")
    await until(lambda: log and server.received == 3)
    await disconnect()
    server.text("posted much too late")
    await server.leave(1000)
    assert log == ["slow", 4401]


class Waiting(AsyncWebsocketConsumer):
    async def connect(self):
        self.scope["log"].append("asked")
        await asyncio.sleep(0.05)


@pytest.mark.parametrize("extensions", [{}, DENIAL])
async def test_a_handshake_is_refused(log, extensions):
    server = Server(Waiting.as_asgi(), log=log, **extensions)
    server.put("websocket.connect")
    server.start()
    await until(lambda: log)
    await disconnect()
    refused = server.sent[0]
    assert refused.get("status") == 401 if extensions else refused["type"] == "websocket.close"
    await server.leave()


async def test_a_stream_of_events_ends(log):
    class Events(AsyncSseConsumer):
        async def disconnect(self):
            log.append("left")

    server = Server(Events.as_asgi(), "http", method="GET")
    server.put("http.request")
    server.start()
    await until(lambda: len(server.sent) == 2)
    await disconnect()
    await server.ended()
    assert not server.sent[-1].get("more_body")
    assert log == ["left"]


async def test_a_response_that_tells_of_the_sign_out_is_not_cut():
    class SigningOut(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            self.ending = disconnect()
            await self.send_body(b"good bye")

    server = Server(SigningOut.as_asgi(), "http", method="POST")
    server.put("http.request")
    await server.start().ended()
    assert server.sent[-1]["body"] == b"good bye"


async def test_one_that_goes_on_is_broken_off(log):
    class Endless(AsyncHttpConsumer):
        async def handle(self, body):
            await self.send_headers()
            await self.send_body(b"part", more_body=True)
            await asyncio.sleep(60)

        async def disconnect(self):
            log.append("left")

    server = Server(Endless.as_asgi(), "http", method="GET")
    server.put("http.request")
    server.start()
    await until(lambda: len(server.sent) == 2)
    await disconnect()
    await server.ended()
    assert log == ["left"]


async def test_one_that_has_not_begun_is_left_to_its_handler():
    class Slow(AsyncHttpConsumer):
        async def handle(self, body):
            await asyncio.sleep(0.05)
            await self.send_response(200, b"done")

    server = Server(Slow.as_asgi(), "http", method="GET")
    server.put("http.request")
    server.start()
    await until(lambda: server.received)
    await disconnect()
    await server.ended()
    assert server.sent[-1]["body"] == b"done"


async def test_a_client_that_polls_is_told_with_its_next_request():
    class Polled(AsyncLongPollConsumer):
        pass

    application = Polled.as_asgi()
    first = Server(application, "http", method="GET")
    first.put("http.request")
    await first.start().ended()
    await disconnect()
    cursor = first.sent[1]["body"].split(b'"')[3]
    again = Server(application, "http", method="GET", query_string=b"cursor=" + cursor)
    again.put("http.request")
    await again.start().ended()
    assert b'"closed": {"code": 4401, "reason": "signed out"}' in again.sent[1]["body"]


async def test_without_a_layer_a_connection_has_no_channel(settings):
    from channels.layers import channel_layers

    former = channel_layers.set("default", None)
    settings.CHANNEL_LAYERS = {}

    class Plain(AsyncConsumer):
        async def websocket_connect(self, message):
            await self.send({"type": "websocket.accept"})

    server = await Server(Plain.as_asgi()).connect()
    [connection] = connections.get().open
    assert connection.channel_name is None
    await server.leave()
    channel_layers.set("default", former)

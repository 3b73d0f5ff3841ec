"""What a client over events sees. Real servers are in tests/conformance/servers/test_events.py."""

import base64
import json
from itertools import pairwise

import pytest

from channels.exceptions import DenyConnection
from channels.fallback import EventStreamFallback
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import get_channel_layer
from tests.asgi import Server, until

TYPE = b"application/channels+json"


class Echo(AsyncWebsocketConsumer):
    async def connect(self):
        if self.scope["path"] == "/denied/":
            raise DenyConnection
        await self.accept((self.scope["subprotocols"] or [None])[0], headers=[(b"x-version", b"1")])

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "close":
            await self.close(4001, "because")
        elif text_data == "close plainly":
            await self.close()
        else:
            await self.send(text_data, bytes_data)

    async def disconnect(self, code):
        self.scope["log"].append(code)


async def django(scope, receive, send):
    await send({"type": "http.response.start", "status": 299, "headers": []})
    await send({"type": "http.response.body", "body": b""})


APPLICATION = EventStreamFallback(Echo.as_asgi(), django)


def make(body, *, application=APPLICATION, method="POST", content_type=TYPE, path="/", **scope):
    if not isinstance(body, bytes):
        body = json.dumps(body).encode()
    headers = [(b"content-type", content_type)]
    server = Server(application, "http", method=method, path=path, headers=headers, log=[], **scope)
    server.put("http.request", body=body)
    return server.start()


def events_of(server):
    """The events so far: their types and data."""
    text = b"".join(m["body"] for m in server.sent if m["type"] == "http.response.body").decode()
    events = []
    for block in text.split("\n\n"):
        fields = dict(line.split(": ", 1) for line in block.split("\n") if line and line != ":")
        if "data" in fields:
            events.append((fields.get("event"), json.loads(fields["data"])))
    return events


async def event(server, number):
    """The event of that number, when it is there."""
    return (await until(lambda: events_of(server)[number : number + 1]))[0]


class Connection:
    def __init__(self, server, token):
        self.server, self.id = server, token

    @classmethod
    async def open(cls, **options):
        server = make({"protocols": ["one", "two"]}, **options)
        kind, opened = await event(server, 0)
        assert (kind, opened["protocol"]) == ("open", "one")
        return cls(server, opened["id"])

    async def post(self, **content):
        server = make({"id": self.id, **content}, application=self.server.application)
        await server.ended()
        return server.sent[0]["status"]

    async def leave(self):
        self.server.put("http.request", body=b"")  # what is no news
        self.server.put("http.disconnect")
        await self.server.ended()


@pytest.fixture
async def connection():
    connection = await Connection.open()
    yield connection
    if not connection.server.task.done():
        await connection.leave()
    assert get_channel_layer().channels == {}


async def test_the_response_is_a_stream_of_events(connection):
    start = connection.server.sent[0]
    headers = dict(start["headers"])
    assert start["status"] == 200
    assert headers[b"content-type"] == b"text/event-stream"
    assert headers[b"x-version"] == b"1", "what the consumer has sent with its accept"


async def test_frames_go_both_ways(connection):
    data = base64.b64encode(b"\x00\xff").decode()
    frames = [{"text": "a\r\n\u2028"}, {"text": ""}, {"bytes": data}]
    assert await connection.post(frames=frames) == 204
    assert await event(connection.server, 3) == ("binary", data)
    assert events_of(connection.server)[1:3] == [(None, "a\r\n\u2028"), (None, "")]


async def test_the_consumer_closes(connection):
    await connection.post(frames=[{"text": "close"}])
    await connection.server.ended()
    assert events_of(connection.server)[-1] == ("close", {"code": 4001, "reason": "because"})
    assert not connection.server.sent[-1].get("more_body")
    assert connection.server.scope["log"] == [4001]


async def test_a_close_without_a_code_is_1000(connection):
    await connection.post(frames=[{"text": "close plainly"}])
    await connection.server.ended()
    assert events_of(connection.server)[-1] == ("close", {"code": 1000, "reason": ""})


async def test_the_client_closes(connection):
    assert await connection.post(frames=[], close={"code": 3333, "reason": "enough"}) == 204
    await connection.server.ended()
    assert connection.server.scope["log"] == [3333]
    assert connection.server.sent[-1] == {"type": "http.response.body", "body": b""}


async def test_a_client_that_leaves_while_its_request_is_read():
    server = Server(APPLICATION, "http", method="POST", headers=[(b"content-type", TYPE)], log=[])
    server.put("http.request", body=b"{", more_body=True)
    server.put("http.disconnect")
    server.start()
    await server.ended()
    assert server.sent == []


async def test_the_client_leaves(connection):
    await connection.leave()
    assert connection.server.scope["log"] == [1006]


async def test_a_client_that_is_refused():
    server = make({}, path="/denied/")
    await server.ended()
    assert server.sent[0]["status"] == 403
    assert (b"channels-refused", b"1") in server.sent[0]["headers"]
    assert server.scope["log"] == [1006]


async def test_a_plain_application_may_close_before_it_accepts():
    async def refuse(scope, receive, send):
        await receive()
        await send({"type": "websocket.close"})
        assert (await receive())["type"] == "websocket.disconnect"

    server = make({}, application=EventStreamFallback(refuse, django))
    await server.ended()
    assert server.sent[0]["status"] == 403


async def test_a_plain_application_may_return_without_closing():
    async def accept(scope, receive, send):
        await send({"type": "websocket.accept"})

    server = make({}, application=EventStreamFallback(accept, django))
    await server.ended()
    assert [kind for kind, _ in events_of(server)] == ["open"]
    assert server.sent[-1] == {"type": "http.response.body", "body": b""}


@pytest.mark.parametrize(
    ("status", "refused"),
    [(418, True), (401, True), (404, True), (408, False), (429, False), (503, False), (302, False)],
)
async def test_a_response_to_the_handshake_is_passed_on(status, refused):
    async def deny(scope, receive, send):
        assert "websocket.http.response" in scope["extensions"]
        await send({"type": "websocket.http.response.start", "status": status, "headers": []})
        await send({"type": "websocket.http.response.body", "body": b"t", "more_body": True})
        await send({"type": "websocket.http.response.body", "body": b"ea"})

    server = make({}, application=EventStreamFallback(deny, django))
    await server.ended()
    headers = [(b"channels-refused", b"1")] if refused else []
    assert server.sent == [
        {"type": "http.response.start", "status": status, "headers": headers},
        {"type": "http.response.body", "body": b"t", "more_body": True},
        {"type": "http.response.body", "body": b"ea"},
    ]


@pytest.mark.parametrize(
    "options", [{"method": "GET"}, {"content_type": b"application/json"}, {"content_type": b""}]
)
async def test_other_requests_are_djangos(options):
    server = make(b"", **options)
    await server.ended()
    assert server.sent[0]["status"] == 299


async def test_a_media_type_has_parameters_and_any_case():
    server = make(b"", content_type=b"Application/Channels+JSON; charset=utf-8")
    await server.ended()
    assert server.sent[0]["status"] == 400


@pytest.mark.parametrize("scope_type", ["websocket", "lifespan"])
async def test_only_requests_are_ours(scope_type):
    server = Server(APPLICATION, scope_type).start()
    await server.ended()
    assert server.sent[0]["status"] == 299


@pytest.mark.parametrize(
    "body",
    [
        b"",
        b"{",
        b"\xff",
        b"[" * 100_000,
        [],
        {"protocols": "one"},
        {"protocols": [1]},
        {"id": None},
        {"id": "rubbish"},
    ],
)
async def test_rubbish(body):
    server = make(body)
    await server.ended()
    assert server.sent[0]["status"] == 400


async def test_rubbish_of_a_client_leaves_its_connection_as_it_was(connection):
    assert await connection.post(frames=[{"text": "lost"}, {"text": 1}]) == 400
    assert await connection.post(frames=[{"text": "next"}]) == 204
    assert await event(connection.server, 1) == (None, "next")


async def test_a_body_that_is_too_large(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 10
    server = make(b"x" * 11)
    await server.ended()
    assert server.sent[0]["status"] == 413


async def test_the_end_of_the_connection_of_another_is_not_its_own():
    """Whoever knows a channel's name cannot send to it: an id is signed."""
    connection = await Connection.open()
    server = make({"id": connection.id[:-2], "frames": [{"text": "close"}]})
    await server.ended()
    assert server.sent[0]["status"] == 400
    await connection.leave()


async def test_without_a_layer_the_process_carries_the_frames(settings):
    settings.CHANNEL_LAYERS = {}
    connection = await Connection.open()
    assert await connection.post(frames=[{"text": "here"}]) == 204
    assert await event(connection.server, 1) == (None, "here")
    await connection.leave()


async def test_a_silent_connection_is_kept_alive(monkeypatch):
    monkeypatch.setattr("channels.fallback._KEEP_ALIVE", 0.01)
    connection = await Connection.open()
    comments = await until(
        lambda: [m for m in connection.server.sent if m.get("body") == b":\n\n"][1:]
    )
    assert comments
    await connection.leave()


async def test_order_is_kept(connection):
    for number in range(20):
        assert await connection.post(frames=[{"text": f"{number}"}]) == 204
    await event(connection.server, 20)
    texts = [int(data) for _, data in events_of(connection.server)[1:]]
    assert all(later == earlier + 1 for earlier, later in pairwise(texts))


class TestLimits:
    """Clients over events are held to the limits of WebSockets."""

    @pytest.fixture
    def limited(self, settings):
        def limited(**limits):
            settings.CHANNELS_LIMITS = limits
            return {"client": ("192.0.2.1", 1)}

        return limited

    async def test_the_number_of_streams_and_of_attempts(self, limited):
        scope = limited(CONNECTIONS_PER_ADDRESS=1, HANDSHAKES_PER_ADDRESS="3/h")
        first = await Connection.open(**scope)
        second = make({}, **scope)
        await second.ended()
        assert second.sent[0]["status"] == 429
        await first.leave()
        await (await Connection.open(**scope)).leave()
        fourth = make({}, **scope)
        await fourth.ended()
        assert fourth.sent[0]["status"] == 429

    @pytest.mark.parametrize(
        ("limits", "text", "code"),
        [
            ({"MESSAGES_PER_CONNECTION": "2/h"}, "a", 4429),
            ({"BYTES_PER_CONNECTION": "200/h"}, "a" * 100, 4429),
            ({"MESSAGE_SIZE": 10}, "a" * 11, 1009),
        ],
    )
    async def test_what_frames_may_hold(self, limited, limits, text, code):
        connection = await Connection.open(**limited(**limits))
        assert await connection.post(frames=[{"text": text}] * 4) == 204
        await connection.server.ended()
        told = events_of(connection.server)
        assert told[-1][0] == "close"
        assert told[-1][1]["code"] == code
        assert len(told) == (2 if code == 1009 else 4)  # with the first event, and the echoes

import asyncio

import pytest

from channels.exceptions import BrokerError, ChannelFull
from channels.generic._bridge import (
    FRAMES,
    Bridge,
    Malformed,
    deliver,
    frames_of,
    header,
    layer_for,
    make_token,
    read_body,
    read_token,
)
from channels.layers import InMemoryChannelLayer, get_channel_layer
from tests.asgi import until

HTTP = {
    "type": "http",
    "method": "POST",
    "scheme": "https",
    "path": "/a/",
    "headers": [(b"X-Name", b"1"), (b"x-name", b"2")],
}


class Sent(list):
    """What was sent, and a ``send``."""

    async def __call__(self, message):
        self.append(message)

    @property
    def status(self):
        return self[0]["status"]


@pytest.fixture
async def bridge():
    bridge = Bridge(HTTP, ["one"])
    await bridge.open(get_channel_layer())
    yield bridge
    await bridge.close()
    assert get_channel_layer().channels == {}


def test_the_scope_is_that_of_a_websocket():
    bridge = Bridge(HTTP, ["one"])
    assert (bridge.scope["type"], bridge.scope["scheme"]) == ("websocket", "wss")
    assert bridge.scope["subprotocols"] == ["one"]
    assert "method" not in bridge.scope
    assert bridge.scope["headers"] is HTTP["headers"], "by it the server is recognised"
    assert Bridge({**HTTP, "scheme": "http"}).scope["scheme"] == "ws"


async def test_what_clients_do_comes_through_the_layer_in_order(bridge):
    assert await bridge.receive() == {"type": "websocket.connect"}
    receiving = asyncio.create_task(bridge.receive())
    await asyncio.sleep(0)
    content = {
        "frames": [{"text": "a"}, {"bytes": "AP8="}],
        "close": {"code": 3000, "reason": "enough"},
    }
    message = {"type": FRAMES, "events": list(frames_of(content))}
    await get_channel_layer().send(bridge.channel, message)
    assert await receiving == {"type": "websocket.receive", "text": "a"}
    assert await bridge.receive() == {"type": "websocket.receive", "bytes": b"\x00\xff"}
    disconnect = {"type": "websocket.disconnect", "code": 3000, "reason": "enough"}
    assert [await bridge.receive() for _ in range(2)] == [disconnect] * 2


async def test_a_gap_ends_the_connection_because_frames_may_be_missing(bridge):
    await bridge.receive()
    await get_channel_layer().send(bridge.channel, {"type": "layer.gap"})
    assert (await bridge.receive())["code"] == 1006


async def test_the_first_reason_to_leave_counts(bridge):
    await bridge.receive()
    bridge.left(4000, "first")
    bridge.left(1006)
    assert (await bridge.receive())["code"] == 4000


async def test_closing_twice_is_as_closing_once(bridge):
    await bridge.close()
    bridge.left(1000)
    assert await bridge.receive() == {"type": "websocket.connect"}
    assert (await bridge.receive())["code"] == 1000


async def test_without_a_channel_only_the_end_comes():
    bridge = Bridge(HTTP)
    await bridge.receive()
    receiving = asyncio.create_task(bridge.receive())
    await asyncio.sleep(0)
    bridge.left(1006)
    assert (await receiving)["type"] == "websocket.disconnect"


async def test_subclasses_send():
    with pytest.raises(NotImplementedError):
        await Bridge(HTTP).send({"type": "websocket.accept"})


def test_a_layer_of_this_process_is_used_where_none_is_configured(settings):
    assert layer_for("default") is get_channel_layer()
    settings.CHANNEL_LAYERS = {}
    assert isinstance(layer_for("default"), InMemoryChannelLayer)
    assert layer_for("default") is layer_for("default")


def test_headers():
    assert header(HTTP, b"x-name") == b"1"
    assert header(HTTP, b"x-other") == b""


def read(messages, limit_scope=HTTP):
    """Read a body that comes in these messages; it and what was answered."""
    sent = Sent()
    waiting = iter(messages)

    async def receive():
        return next(waiting)

    async def run():
        return await read_body(limit_scope, receive, sent, Bridge), sent

    return run()


def part(body, more=False):
    return {"type": "http.request", "body": body, "more_body": more}


async def test_a_body_is_put_together():
    assert await read([part(b"a", True), part(b"", True), part(b"b")]) == (b"ab", [])


async def test_a_client_that_leaves_has_no_body():
    assert await read([part(b"a", True), {"type": "http.disconnect"}]) == (None, [])


async def test_a_body_that_is_too_large_is_refused_before_it_is_read(settings):
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = 3
    announced = {**HTTP, "headers": [(b"content-length", b"4")]}
    for scope, messages in ((HTTP, [part(b"abcd")]), (announced, [part(b"abcd")])):
        body, sent = await read(messages, scope)
        assert body is None
        assert sent.status == 413
    settings.DATA_UPLOAD_MAX_MEMORY_SIZE = None
    assert (await read([part(b"abcd")]))[0] == b"abcd"


def test_a_token_says_what_was_put_into_it():
    assert read_token(make_token("a", "b"), 2) == ["a", "b"]


@pytest.mark.parametrize("token", ["", "x", None, 1, [], {}])
def test_what_is_no_token(token):
    with pytest.raises(Malformed):
        read_token(token, 2)


def test_a_token_that_was_changed_or_is_of_another_kind():
    for token in (make_token("a", "b")[:-1], make_token("a")):
        with pytest.raises(Malformed):
            read_token(token, 2)


@pytest.mark.parametrize(
    "content",
    [
        {"frames": 1},
        {"frames": ["x"]},
        {"frames": [None]},
        {"frames": [{}]},
        {"frames": [{"text": None}]},
        {"frames": [{"text": "\ud800"}]},
        {"frames": [{"bytes": "!"}]},
        {"frames": [{"bytes": 1}]},
        {"close": 1},
        {"close": {"code": "1"}},
        {"close": {"code": True}},
        {"close": {"code": 999}},
        {"close": {"code": 5000}},
        {"close": {"reason": 1}},
    ],
)
def test_what_no_client_does(content):
    with pytest.raises(Malformed):
        list(frames_of(content))


def test_a_client_may_close_without_a_code():
    assert list(frames_of({"close": {}})) == [["close", 1005, ""]]
    assert list(frames_of({})) == []


class Refusing:
    def __init__(self, error=None):
        self.error, self.log = error, []

    async def send(self, channel, message):
        self.log.append((channel, message))
        if self.error is not None:
            raise self.error


@pytest.mark.parametrize(
    ("error", "status"), [(None, 204), (ChannelFull(), 503), (BrokerError("away"), 503)]
)
async def test_a_client_is_told_whether_there_was_room(error, status):
    layer, sent = Refusing(error), Sent()
    await deliver(layer, "there", {"type": FRAMES}, HTTP, sent)
    assert layer.log == [("there", {"type": FRAMES})]
    assert sent.status == status
    assert ((b"retry-after", b"1") in sent[0]["headers"]) is (status == 503)
    await until(lambda: sent[-1]["type"] == "http.response.body")

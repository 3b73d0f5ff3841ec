"""WebsocketCommunicator: the client's side of one WebSocket."""

import asyncio
import json

import pytest

from channels.testing import WebsocketCommunicator


def application_sending(*events):
    """An application that answers the handshake with ``events`` and then waits for the end."""

    async def application(scope, receive, send):
        await receive()
        for event in events:
            await send(event)
        while (await receive())["type"] != "websocket.disconnect":
            pass

    return application


async def echo(scope, receive, send):
    assert (await receive())["type"] == "websocket.connect"
    await send({"type": "websocket.accept"})
    while (event := await receive())["type"] == "websocket.receive":
        await send({**event, "type": "websocket.send"})
    scope["code"] = event["code"]


async def connected_to(*events):
    accept = {"type": "websocket.accept"}
    communicator = WebsocketCommunicator(application_sending(accept, *events), "/")
    assert await communicator.connect() == (True, None)
    return communicator


def test_scope():
    headers = [(b"origin", b"https://example.org")]
    communicator = WebsocketCommunicator(
        echo, "/caf%C3%A9/?a=%20b&c", headers, ["chat", "v2"], "2.3"
    )
    assert communicator.scope == {
        "type": "websocket",
        "path": "/café/",
        "query_string": b"a=%20b&c",
        "headers": headers,
        "subprotocols": ["chat", "v2"],
        "spec_version": "2.3",
    }
    assert headers == [(b"origin", b"https://example.org")]


def test_scope_without_options():
    assert WebsocketCommunicator(echo, "/").scope == {
        "type": "websocket",
        "path": "/",
        "query_string": b"",
        "headers": [],
        "subprotocols": [],
    }


def test_offer_in_the_headers_is_left_alone():
    headers = [(b"sec-websocket-protocol", b"chat,v2")]
    communicator = WebsocketCommunicator(echo, "/", headers, ["chat", "v2"])
    assert communicator.scope["headers"] == headers


def test_path_must_be_text():
    with pytest.raises(TypeError, match="must be a str, not bytes"):
        WebsocketCommunicator(echo, b"/")


async def test_accepted_with_subprotocol_and_headers():
    headers = [(b"x-test", b"1")]
    accept = {"type": "websocket.accept", "subprotocol": "chat", "headers": headers}
    communicator = WebsocketCommunicator(application_sending(accept), "/")
    assert communicator.response_headers is None
    assert await communicator.connect() == (True, "chat")
    assert communicator.response_headers == headers


@pytest.mark.parametrize(
    ("close", "code"), [({}, 1000), ({"code": 4003}, 4003), ({"code": 4003, "reason": "no"}, 4003)]
)
async def test_refused(close, code):
    application = application_sending({"type": "websocket.close", **close})
    communicator = WebsocketCommunicator(application, "/")
    assert await communicator.connect() == (False, code)
    await communicator.disconnect()


async def test_refused_with_a_response():
    headers = [(b"content-type", b"text/plain")]
    communicator = WebsocketCommunicator(
        application_sending(
            {"type": "websocket.http.response.start", "status": 401, "headers": headers},
            {"type": "websocket.http.response.body", "body": b"sign ", "more_body": True},
            {"type": "websocket.http.response.body", "body": b"in first"},
        ),
        "/",
    )
    assert await communicator.connect() == (False, 401)
    assert communicator.denial == {"status": 401, "headers": headers, "body": b"sign in first"}
    assert communicator.response_headers == headers


async def test_no_answer_says_what_was_awaited():
    communicator = WebsocketCommunicator(application_sending(), "/")
    with pytest.raises(TimeoutError) as caught:
        await communicator.connect(timeout=0.01)
    assert "websocket.accept" in caught.value.__notes__[0]


async def test_strange_answer_fails_the_test():
    application = application_sending({"type": "websocket.send", "text": "too early"})
    with pytest.raises(AssertionError, match=r"waiting for websocket\.accept.*too early"):
        await WebsocketCommunicator(application, "/").connect()


@pytest.mark.parametrize("data", ["hello", "", "žluťoučký \U0001f40e", b"\x00\xff", b""])
async def test_frames_round_trip(data):
    communicator = WebsocketCommunicator(echo, "/")
    await communicator.connect()
    if isinstance(data, str):
        await communicator.send_to(text_data=data)
    else:
        await communicator.send_to(bytes_data=data)
    received = await communicator.receive_from()
    assert received == data
    assert type(received) is type(data)
    await communicator.disconnect()


async def test_json_round_trips():
    communicator = WebsocketCommunicator(echo, "/")
    await communicator.connect()
    data = {"text": "žluť", "n": [1, 2.5, None, True]}
    await communicator.send_json_to(data)
    assert await communicator.receive_json_from() == data
    await communicator.disconnect()


@pytest.mark.parametrize(
    "arguments",
    [
        {},
        {"text_data": "a", "bytes_data": b"a"},
        {"text_data": b"a"},
        {"bytes_data": "a"},
        {"text_data": 1},
    ],
)
async def test_wrong_data_is_refused(arguments):
    communicator = WebsocketCommunicator(echo, "/")
    await communicator.connect()
    with pytest.raises(TypeError, match=r"text_data|bytes_data"):
        await communicator.send_to(**arguments)
    await communicator.disconnect()


@pytest.mark.parametrize(
    "frame", [{}, {"text": b"a"}, {"bytes": "a"}, {"text": "a", "bytes": b"a"}, {"text": None}]
)
async def test_malformed_frame_fails_the_test(frame):
    communicator = await connected_to({"type": "websocket.send", **frame})
    with pytest.raises(AssertionError, match="either a str as text or bytes as bytes"):
        await communicator.receive_from()


@pytest.mark.parametrize(
    ("frame", "data"),
    [({"text": "a", "bytes": None}, "a"), ({"text": None, "bytes": b"a"}, b"a")],
)
async def test_none_stands_for_an_absent_field(frame, data):
    communicator = await connected_to({"type": "websocket.send", **frame})
    assert await communicator.receive_from() == data


async def test_close_instead_of_a_frame_fails_the_test():
    communicator = await connected_to({"type": "websocket.close", "code": 4001})
    with pytest.raises(AssertionError, match=r"waiting for websocket\.send.*4001"):
        await communicator.receive_from()


async def test_json_in_a_binary_frame_fails_the_test():
    communicator = await connected_to({"type": "websocket.send", "bytes": b"{}"})
    with pytest.raises(AssertionError, match="binary"):
        await communicator.receive_json_from()


async def test_rubbish_instead_of_json_is_named():
    communicator = await connected_to({"type": "websocket.send", "text": "{"})
    with pytest.raises(json.JSONDecodeError):
        await communicator.receive_json_from()


async def test_disconnect_passes_the_code_and_waits_for_the_end():
    communicator = WebsocketCommunicator(echo, "/")
    await communicator.connect()
    await communicator.disconnect(code=4000)
    assert communicator.scope["code"] == 4000
    assert communicator.future.done()
    await communicator.disconnect()


async def test_disconnect_of_what_never_started_starts_nothing():
    called = []

    async def application(scope, receive, send):
        called.append(scope)

    await WebsocketCommunicator(application, "/").disconnect()
    assert asyncio.all_tasks() == {asyncio.current_task()}
    assert called == []


async def test_disconnect_after_a_timeout_is_silent():
    communicator = await connected_to()
    with pytest.raises(TimeoutError):
        await communicator.receive_from(timeout=0.01)
    await communicator.disconnect()


async def crash_on_frame(scope, receive, send):
    await receive()
    await send({"type": "websocket.accept"})
    await receive()
    raise ZeroDivisionError


async def test_disconnect_raises_a_crash_that_nobody_has_seen():
    communicator = WebsocketCommunicator(crash_on_frame, "/")
    await communicator.connect()
    await communicator.send_to(text_data="now")
    with pytest.raises(ZeroDivisionError):
        await communicator.disconnect()
    await communicator.disconnect()


async def test_disconnect_after_a_crash_that_was_raised_is_silent():
    communicator = WebsocketCommunicator(crash_on_frame, "/")
    await communicator.connect()
    await communicator.send_to(text_data="now")
    with pytest.raises(ZeroDivisionError):
        await communicator.receive_from()
    await communicator.disconnect()


async def test_context_manager_connects_and_disconnects():
    async with WebsocketCommunicator(echo, "/") as communicator:
        await communicator.send_to(text_data="hello")
        assert await communicator.receive_from() == "hello"
    assert communicator.scope["code"] == 1000
    assert communicator.future.done()


async def test_context_manager_fails_when_refused():
    communicator = WebsocketCommunicator(
        application_sending({"type": "websocket.close", "code": 4003}), "/"
    )
    with pytest.raises(AssertionError, match="refused the WebSocket with 4003"):
        async with communicator:
            pytest.fail("must not be entered")


async def test_context_manager_does_not_mask_the_failure_of_the_test():
    communicator = WebsocketCommunicator(crash_on_frame, "/")
    with pytest.raises(KeyError):
        async with communicator:
            await communicator.send_to(text_data="crash meanwhile")
            raise KeyError
    assert communicator.future.done()


async def test_filtering_subclass_is_asked_for_every_event():
    class WithoutPings(WebsocketCommunicator):
        async def receive_output(self, timeout=1):
            event = await super().receive_output(timeout)
            return event if event.get("text") != "ping" else await self.receive_output(timeout)

    events = [{"type": "websocket.send", "text": text} for text in ("ping", "news")]
    application = application_sending({"type": "websocket.accept"}, *events)
    async with WithoutPings(application, "/") as communicator:
        assert await communicator.receive_from() == "news"


async def test_two_sockets_at_once():
    sockets = [WebsocketCommunicator(echo, f"/{n}/") for n in range(2)]
    await asyncio.gather(*(socket.connect() for socket in sockets))
    for n, socket in enumerate(sockets):
        await socket.send_json_to(n)
    assert [await socket.receive_json_from() for socket in sockets] == [0, 1]
    await asyncio.gather(*(socket.disconnect() for socket in sockets))

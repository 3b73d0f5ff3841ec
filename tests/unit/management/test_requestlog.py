import asyncio
import logging

import pytest

from channels.management.requestlog import RequestLog

HTTP = {
    "type": "http",
    "method": "GET",
    "path": "/a b",
    "raw_path": b"/a%20b",
    "query_string": b"q=1",
    "http_version": "1.1",
}
WEBSOCKET = {
    "type": "websocket",
    "path": "/ws/",
    "query_string": b"token=secret",
    "client": ("127.0.0.1", 4321),
}


class Records(logging.Handler):
    def __init__(self):
        super().__init__()
        self.records = []

    def emit(self, record):
        self.records.append(record)


@pytest.fixture
def records():
    """The records of django.server, which does not propagate."""
    handler = Records()
    logger = logging.getLogger("django.server")
    logger.addHandler(handler)
    yield handler.records
    logger.removeHandler(handler)


async def serve(scope, *steps, events=()):
    """Run an application that takes these steps: messages to send, or an exception to raise."""
    queue = asyncio.Queue()
    for event in events:
        queue.put_nowait(event)

    async def application(scope, receive, send):
        for _ in events:
            await receive()
        for step in steps:
            if isinstance(step, BaseException):
                raise step
            await send(step)

    async def send(message):
        pass

    await RequestLog(application)(scope, queue.get, send)


def response(status, *parts):
    yield {"type": "http.response.start", "status": status}
    for part in parts:
        yield {"type": "http.response.body", "body": part, "more_body": True}
    yield {"type": "http.response.body"}


@pytest.mark.parametrize(
    ("status", "level"),
    [(200, "INFO"), (304, "INFO"), (404, "WARNING"), (500, "ERROR"), (503, "ERROR")],
)
async def test_a_request_is_logged_as_djangos_server_does(records, status, level):
    await serve(HTTP, *response(status, b"123", b"45"))
    (record,) = records
    assert record.getMessage() == f'"GET /a%20b?q=1 HTTP/1.1" {status} 5'
    assert record.args == ("GET /a%20b?q=1 HTTP/1.1", str(status), "5")
    assert (record.levelname, record.status_code) == (level, status)
    assert record.server_time


async def test_the_answer_to_head_has_no_body(records):
    await serve({**HTTP, "method": "HEAD"}, *response(200, b"123"))
    assert records[0].args[2] == "0"


async def test_a_request_that_failed_is_a_500(records):
    with pytest.raises(RuntimeError):
        await serve(HTTP, RuntimeError())
    assert records[0].getMessage().endswith('HTTP/1.1" 500 0')


async def test_a_response_that_broke_off_keeps_its_status(records):
    start, part, _ = response(200, b"123")
    with pytest.raises(RuntimeError):
        await serve(HTTP, start, part, RuntimeError())
    assert [record.args[1:] for record in records] == [("200", "3")]


async def test_a_request_without_any_answer_is_not_logged(records):
    await serve(HTTP)
    assert not records


async def test_control_characters_of_the_client_stay_out_of_the_log(records):
    await serve({**HTTP, "raw_path": None, "path": "/\x1b[31m\n"}, *response(200))
    await serve({**HTTP, "raw_path": b"/\x1b[31m\n\xff"}, *response(200))
    await serve({**WEBSOCKET, "path": "/\x1b[31m\n"})
    assert len(records) == 4
    assert all(record.getMessage().isprintable() for record in records)


def steps(records):
    return [record.getMessage() for record in records]


async def test_the_life_of_a_websocket(records):
    events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1000}]
    scope = WEBSOCKET

    async def application(scope, receive, send):
        await receive()
        await send({"type": "websocket.accept"})
        await send({"type": "websocket.send", "text": "x"})
        await receive()
        assert steps(records)[-1].startswith("WebSocket DISCONNECT")  # at once, not at the end

    async def receive():
        return events.pop(0)

    async def send(message):
        pass

    await RequestLog(application)(scope, receive, send)
    assert steps(records) == [
        "WebSocket HANDSHAKING /ws/ [127.0.0.1:4321]",
        "WebSocket CONNECT /ws/ [127.0.0.1:4321]",
        "WebSocket DISCONNECT /ws/ [127.0.0.1:4321]",
    ]


@pytest.mark.parametrize(
    ("refusal", "status", "level"),
    [
        ({"type": "websocket.close"}, 403, "WARNING"),
        ({"type": "websocket.http.response.start", "status": 404}, 404, "WARNING"),
        (ValueError(), 500, "ERROR"),
    ],
)
async def test_a_refused_websocket(records, refusal, status, level):
    try:
        await serve(WEBSOCKET, refusal)
    except ValueError:
        assert refusal.__class__ is ValueError
    assert steps(records)[1:] == ["WebSocket REJECT /ws/ [127.0.0.1:4321]"]
    assert (records[1].status_code, records[1].levelname) == (status, level)


async def test_a_client_that_leaves_during_the_handshake(records):
    events = [{"type": "websocket.connect"}, {"type": "websocket.disconnect", "code": 1006}]
    await serve({**WEBSOCKET, "client": None}, events=events)
    assert steps(records) == ["WebSocket HANDSHAKING /ws/ [-]", "WebSocket DISCONNECT /ws/ [-]"]


async def test_a_crash_after_the_handshake_is_a_disconnect(records):
    with pytest.raises(ValueError, match="later"):
        await serve(WEBSOCKET, {"type": "websocket.accept"}, ValueError("later"))
    assert [step.split()[1] for step in steps(records)] == ["HANDSHAKING", "CONNECT", "DISCONNECT"]


async def test_lifespan_is_passed_on_in_silence(records):
    await serve({"type": "lifespan"}, {"type": "lifespan.startup.complete"})
    assert not records


async def test_other_messages_of_a_response_are_passed_on_and_not_counted(records):
    early_hint = {"type": "http.response.early_hint", "links": [b"<a>"], "body": b"123"}
    await serve(HTTP, early_hint, *response(200, b"45"))
    (record,) = records
    assert record.args[1:] == ("200", "2")

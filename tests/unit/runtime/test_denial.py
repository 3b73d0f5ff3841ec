"""A refusal is one log line, one signal, one clean answer."""

import logging

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels import signals
from channels._runtime.denial import deny, from_server, printable, respond

WEBSOCKET = {"type": "websocket", "path": "/chat/"}
DENIABLE = {**WEBSOCKET, "extensions": {"websocket.http.response": {}}}
HTTP = {"type": "http", "path": "/chat/"}


@pytest.fixture
def sent():
    return []


@pytest.fixture
def send(sent):
    async def send(message):
        sent.append(message)

    return send


@pytest.fixture
def refusals():
    heard = []

    def hear(sender, scope, reason, status, **kwargs):
        heard.append((sender, scope, reason, status))

    signals.connection_refused.connect(hear)
    yield heard
    signals.connection_refused.disconnect(hear)


def test_a_server_is_known_by_its_scope():
    assert from_server({"type": "http", "asgi": {"version": "3.0"}})
    assert not from_server({"type": "http"})


# Text for the log


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("plain", "plain"),
        ("grün 日本 🎉", "grün 日本 🎉"),
        ("", ""),
        ("a\r\nb", "a\\r\\nb"),
        ("\x1b[31mred", "\\x1b[31mred"),
        ("right\u202eleft", "right\\u202eleft"),
        ("line\u2028", "line\\u2028"),
        ("\udc80", "\\udc80"),
        (None, "None"),
        (b"bytes", "b'bytes'"),
    ],
)
def test_printable(text, shown):
    assert printable(text) == shown


@given(st.text(st.characters()) | st.text(min_size=190), st.integers(4, 250))
def test_printable_text_is_one_short_line(text, limit):
    shown = printable(text, limit)
    assert shown.isprintable()
    assert len(shown) <= limit
    if text.isprintable() and len(text) <= limit:
        assert shown == text


def test_text_that_is_cut_says_so():
    assert printable("x" * 300) == "x" * 197 + "..."
    assert printable("x" * 200) == "x" * 200
    assert printable("\n" * 200).endswith("\\n...") or printable("\n" * 200).endswith("...")


def test_a_huge_text_is_not_escaped_as_a_whole():
    assert len(printable("\x00" * 10_000_000)) == 200


# Answers


@pytest.mark.parametrize("scope", [HTTP, DENIABLE])
@pytest.mark.parametrize(("status", "phrase"), [(403, b"Forbidden"), (404, b"Not Found")])
async def test_a_response_with_the_status_and_nothing_else(scope, status, phrase, sent, send):
    await respond(scope, send, status=status)
    prefix = "http.response" if scope is HTTP else "websocket.http.response"
    assert sent == [
        {
            "type": f"{prefix}.start",
            "status": status,
            "headers": [
                (b"content-type", b"text/plain; charset=utf-8"),
                (b"content-length", str(len(phrase)).encode()),
            ],
        },
        {"type": f"{prefix}.body", "body": phrase},
    ]


@pytest.mark.parametrize("extensions", [{}, None, {"other": {}}, "missing"])
async def test_a_websocket_that_can_have_no_response_is_closed(extensions, sent, send):
    scope = WEBSOCKET if extensions == "missing" else {**WEBSOCKET, "extensions": extensions}
    await respond(scope, send, status=404)
    assert sent == [{"type": "websocket.close"}]


async def test_a_refusal_is_logged_and_signalled_and_answered(sent, send, caplog, refusals):
    await deny(DENIABLE, send, status=403, reason="Origin not allowed", sender=object)
    (record,) = caplog.records
    assert record.getMessage() == "Refused websocket /chat/: Origin not allowed [403]"
    assert (record.name, record.levelno) == ("channels.handshake", logging.WARNING)
    assert refusals == [(object, DENIABLE, "Origin not allowed", 403)]
    assert [message["type"] for message in sent] == [
        "websocket.http.response.start",
        "websocket.http.response.body",
    ]
    assert b"Origin" not in sent[1]["body"]


async def test_our_own_failures_are_errors(send, caplog, refusals):
    await deny(HTTP, send, status=500, reason="broken")
    (record,) = caplog.records
    assert record.levelno == logging.ERROR
    assert refusals[0][0] is deny


async def test_what_the_client_wrote_makes_no_lines_of_its_own(send, caplog):
    scope = {**HTTP, "path": "/a\r\nERROR forged" + "x" * 1000}
    await deny(scope, send, status=404, reason="no route for\n" + "y" * 1000)
    (record,) = caplog.records
    assert record.getMessage().isprintable()
    assert len(record.getMessage()) < 800


async def test_a_scope_without_a_path(send, caplog, sent):
    await deny({"type": "websocket"}, send, status=404, reason="no route")
    assert caplog.records[0].getMessage() == "Refused websocket : no route [404]"
    assert sent == [{"type": "websocket.close"}]

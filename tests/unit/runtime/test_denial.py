"""A refusal is one log line, one signal, one clean answer."""

import logging
import sys

import pytest

from channels import signals
from channels._runtime.denial import deny, respond

from .servers import standins

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


async def test_on_hypercorn_nothing_is_inflated_after_a_refusal_by_close(monkeypatch):
    monkeypatch.setitem(sys.modules, "hypercorn.protocol.ws_stream", object())
    client, sent = standins.Hypercorn(path="/"), []
    monkeypatch.setattr(type(client.protocol), "app_send", recorded(sent))
    await deny(client.scope, client.protocol.app_send, status=403, reason="no", close_code=4403)
    assert client.protocol.handshake.extensions is None
    assert [message["type"] for message in sent] == ["websocket.accept", "websocket.close"]


def recorded(sent):
    async def app_send(self, message):
        sent.append(message)

    return app_send

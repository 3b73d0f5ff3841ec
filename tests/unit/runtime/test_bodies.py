"""The body of a request that is refused. What a consumer makes of it is in test_http.py."""

import asyncio

import pytest

from channels._runtime import bodies
from channels._runtime.bodies import announced_length, announces_body, collect, last_word, refuse


@pytest.mark.parametrize(
    ("headers", "length"),
    [
        (None, 0),
        ([(b"host", b"x"), (b"Content-Length", b"12"), (b"content-length", b"13")], 12),
        ([(b"content-length", b"-1")], 0),
        ([(b"content-length", b"9" * 20)], 0),
        ([(b"content-type", b"12")], 0),
    ],
)
def test_the_length_that_a_client_announces(headers, length):
    assert announced_length({"headers": headers}) == length


def test_tiny_parts_are_put_together():
    parts = []
    for _ in range(10_000):
        collect(parts, b"x")
    collect(parts, b"")
    assert b"".join(parts) == b"x" * 10_000
    assert len(parts) < 100


async def refused(events, send=None):
    """What a client that sends ``events`` is told, and the events that were not read."""
    sent = []

    async def take(message):
        sent.append(message)

    async def receive():
        if not events:
            await asyncio.Event().wait()
        return events.pop(0)

    scope = {"type": "http", "path": "/", "http_version": "1.1"}
    async with asyncio.timeout(10):
        await refuse(scope, receive, send or take, reason="too large", sender=None)
    return sent


PART = {"type": "http.request", "body": b"x", "more_body": True}
END = {"type": "http.request", "body": b"x"}
LEFT = {"type": "http.disconnect"}


@pytest.mark.parametrize("last", [END, LEFT])
async def test_a_refused_client_is_read_until_it_has_sent_all(last, monkeypatch):
    monkeypatch.setattr(bodies, "LINGER", 60)
    events = [PART, PART, last, PART]
    sent = await refused(events)
    assert events == [PART]
    assert sent[0]["status"] == 413
    assert (b"connection", b"close") in sent[0]["headers"]
    assert sent[-1] == last_word(413)


async def test_a_refused_client_that_goes_on_sending_is_not_read_for_ever(monkeypatch):
    monkeypatch.setattr(bodies, "LINGER", 0.01)
    assert (await refused([PART]))[-1] == last_word(413)


async def test_a_refused_client_may_leave_before_the_last_word():
    told = []

    async def send(message):
        if message == last_word(413):
            raise ConnectionResetError
        told.append(message)

    await refused([LEFT], send)
    assert told[0]["status"] == 413


def test_whether_a_client_says_that_it_sends_a_body():
    assert not announces_body({})
    assert not announces_body({"headers": [(b"content-length", b"0")]})
    assert announces_body({"headers": [(b"Content-Length", b"7")]})
    assert announces_body({"headers": [(b"Transfer-Encoding", b"chunked")]})

"""How long a client with a token stays, and what it may send about that."""

import asyncio
import json
import time
from types import SimpleNamespace

import pytest

from channels._runtime import tenure
from channels.exceptions import TokenRefused, VerifierUnavailable
from channels.security.tokens import Identity
from tests.asgi import until
from tests.unit.security.tokens.helpers import (
    ANNA,
    Echo,
    User,
    application,
    bearer,
    connected,
    known,
)


def frame(token, **more):
    return json.dumps({"type": "channels.token", "token": token, **more})


def in_(seconds):
    return Identity(ANNA, time.time() + seconds)


@pytest.fixture
async def server():
    verifier = known(
        first=in_(100),
        longer=in_(200),
        other=Identity(User(2)),
        late=TokenRefused("late", expired=True),
        absent=VerifierUnavailable("it is away"),
    )
    async with connected(application(verifier), bearer("first")) as server:
        yield server


def answers(server):
    return [json.loads(text) for text in server.texts()]


async def test_a_newer_token_is_taken_without_the_consumer(server):
    server.text(frame("longer"))
    await until(server.texts)
    (answer,) = answers(server)
    assert (answer["type"], 199 < answer["expires_in"] <= 200) == ("channels.token", True)
    assert Echo.seen["token"].expires_in > 199
    server.text(frame("good"))
    await until(lambda: len(server.texts()) == 2)
    assert answers(server)[1]["expires_in"] is None


async def test_a_newer_token_may_stand_before_its_type(server):
    server.text(json.dumps({"token": "longer", "padding": "x" * 500, "type": "channels.token"}))
    await until(server.texts)
    assert 199 < answers(server)[0]["expires_in"] <= 200


@pytest.mark.parametrize(
    "text",
    [
        "hello",
        '{"type": "chat", "text": "channels.token"}',
        '"channels.token"',
        '["channels.token"',
        '{"type": "chat", "text": "' + "x" * 100 + ' channels.token"}',
        '["channels.token"' + "[" * 5000,
    ],
)
async def test_everything_else_is_the_consumers(server, text):
    server.text(text)
    await until(lambda: server.texts() == [text])
    assert Echo.seen["token"].expires_in < 101


async def test_bytes_are_the_consumers_too(server):
    server.put("websocket.receive", bytes=b"\x00")
    server.text("after")
    await until(lambda: server.texts()[-1:] == ["after"])
    assert server.types()[-1] == "websocket.send"


@pytest.mark.parametrize(
    ("token", "code", "reason"),
    [
        ("other", 4401, "token refused"),
        ("bad", 4401, "token refused"),
        ("", 4401, "token refused"),
        (5, 4401, "token refused"),
        (None, 4401, "token refused"),
        ("x" * 9000, 4401, "token refused"),
        ("late", 4419, "token expired"),
    ],
)
async def test_one_that_is_not_good_ends_the_connection(server, token, code, reason, caplog):
    server.text(frame(token))
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    assert (server.sent[-1]["code"], server.sent[-1]["reason"]) == (code, reason)
    assert f"closed with {code}: " in caplog.text
    assert server.texts() == []


async def test_one_that_cannot_be_asked_about_changes_nothing(server, caplog):
    server.text(frame("absent"))
    await until(server.texts)
    assert answers(server) == [{"type": "channels.token", "error": "unavailable"}]
    assert "could not refresh its token: Known: it is away" in caplog.text
    assert 99 < Echo.seen["token"].expires_in < 100


async def test_a_flood_of_them_costs_one_look_at_a_time():
    asked, go_on = [], asyncio.Event()

    class Slow:
        async def verify(self, token):
            if token != "first":
                asked.append(token)
                await go_on.wait()
            return in_(100)

    async with connected(application(Slow()), bearer("first")) as server:
        server.text(frame("t0"))
        await until(lambda: asked)
        for number in range(1, 20):
            server.text(frame(f"t{number}"))
        server.text("after")
        await until(lambda: server.texts() == ["after"])
        assert asked == ["t0"]
        go_on.set()
        await until(lambda: len(server.texts()) == 3)
        assert asked == ["t0", "t19"]


async def test_a_look_ends_with_the_connection():
    begun, ended = asyncio.Event(), asyncio.Event()

    class Endless:
        async def verify(self, token):
            if token == "first":
                return in_(100)
            begun.set()
            try:
                await asyncio.Event().wait()
            finally:
                ended.set()

    async with connected(application(Endless()), bearer("first")) as server:
        server.text(frame("second"))
        await begun.wait()
    await asyncio.wait_for(ended.wait(), 5)
    assert server.task.done()


class Fake:
    """A credential, and everything that a tenure has around it."""

    def __init__(self, expires_at):
        self.expires_at = expires_at
        self.changed = None
        self.ended = []
        consumer = SimpleNamespace(scope={"type": "websocket", "path": "/"})
        self.tenure = tenure.Tenure(self, consumer, None, self, self.disconnect)

    def disconnect(self, code, reason):
        self.ended.append((code, reason))
        return self

    async def refresh(self, scope, token):
        self.expires_at += 100

    async def send(self, message):
        raise OSError("the client has gone")


async def test_the_clock_of_the_day_decides(monkeypatch):
    """A timer that has run for long looks at it again."""
    monkeypatch.setattr(tenure, "_LONGEST", 0.01)
    fake = Fake(time.time() + 0.1)
    await asyncio.sleep(0.03)
    assert fake.ended == []
    await until(lambda: fake.ended)
    assert fake.ended == [(4419, "token expired")]
    fake.tenure._look()
    assert len(fake.ended) == 1


async def test_a_later_expiry_counts():
    fake = Fake(time.time() + 0.05)
    fake.expires_at = None
    fake.changed()
    await asyncio.sleep(0.08)
    assert (fake.ended, fake.tenure._timer) == ([], None)
    fake.tenure.finish()
    assert fake.changed is None


async def test_an_answer_that_cannot_be_sent_is_no_failure():
    fake = Fake(time.time() + 5)
    fake.tenure._take("x")
    task = fake.tenure._refreshing
    await task
    assert (task.exception(), fake.ended) == (None, [])
    fake.tenure.finish()

"""What is told of sessions and users, and the connections that it concerns."""

import asyncio
from types import SimpleNamespace

import pytest
from django.contrib.auth import SESSION_KEY

from channels.control import handlers
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.revocation import hearing, watching
from channels.revocation.finding import digest, find
from channels.revocation.hearing import hearings
from channels.revocation.telling import ENDED, RENAMED, USERS
from tests.asgi import Server, until


@pytest.fixture(autouse=True)
async def surroundings(monkeypatch):
    monkeypatch.setattr(watching, "_TICK", 1000.0)
    former = channel_layers.set("default", InMemoryChannelLayer())
    yield
    watching.watches.pop()
    channel_layers.set("default", former)


class Stays(AsyncWebsocketConsumer):
    ends_with_session = False


ANNA = SimpleNamespace(pk=7, is_authenticated=True)


def session(key="a-key", **data):
    """One that is no SessionBase: nobody asks a store for it."""
    return SimpleNamespace(session_key=key, _session_cache=data)


@pytest.fixture
async def connect():
    servers = []

    async def connect(consumer=AsyncWebsocketConsumer, **scope):
        servers.append(await Server(consumer.as_asgi(), **scope).connect())
        return servers[-1]

    yield connect
    for server in servers:
        await server.leave()


async def ends(*servers):
    await until(lambda: all(s.sent[-1]["type"] == "websocket.close" for s in servers))
    assert {server.sent[-1]["reason"] for server in servers} == {"signed out"}


async def test_all_sessions_of_one_command_end(connect):
    servers = [await connect(user=ANNA, session=session(key)) for key in ("a", "b")]
    other = await connect(user=ANNA, session=session("c"))
    await handlers.call(ENDED, {"values": [digest("a"), digest("b")]})
    await ends(*servers)
    assert other.types() == ["websocket.accept"]


@pytest.mark.parametrize(
    "scope",
    [
        {"user": ANNA, "session": session(**{SESSION_KEY: "8"})},
        {"user": ANNA, "session": SimpleNamespace(session_key="a-key")},
        {"session": session()},
    ],
    ids=["the session is of another user", "the session was not asked", "nobody is signed in"],
)
async def test_it_concerns_nobody_whom_the_session_does_not_sign_in(connect, scope):
    mine, other = await connect(user=ANNA, session=session()), await connect(**scope)
    await handlers.call(ENDED, {"values": [digest("a-key")]})
    await ends(mine)
    await asyncio.sleep(0)
    assert other.types() == ["websocket.accept"]


async def test_a_session_that_gets_one_key_after_another_is_found_by_the_last(connect):
    tabs = [await connect(user=ANNA, session=session("a")) for _ in range(2)]
    pairs = [[digest("a"), digest("b")], [digest("b"), digest("c")]]
    await handlers.call(RENAMED, {"values": pairs})
    await handlers.call(RENAMED, {"values": [[digest("c"), digest("d")]]})
    await until(lambda: len(find("session", {digest("d")})) == 2)
    await handlers.call(ENDED, {"values": [digest("d")]})
    await ends(*tabs)


async def test_keys_in_a_circle_are_followed_once(connect):
    await connect(user=ANNA, session=session("a"))
    pairs = [[digest("a"), digest("b")], [digest("b"), digest("a")]]
    await handlers.call(RENAMED, {"values": pairs})
    await until(lambda: not hearings.get()._waits)
    assert len(find("session", {digest("a")})) == 1


async def test_what_ends_by_hand_only_is_found_by_its_new_key_too(connect, settings):
    settings.CHANNELS_REVOCATION = None
    stays = await connect(Stays, user=ANNA, session=session("a"))
    await handlers.call(RENAMED, {"values": [[digest("a"), digest("b")]]})
    await until(lambda: len(find("session", {digest("b")})) == 1)
    await handlers.call(ENDED, {"values": [digest("b")]})
    await handlers.call(USERS, {"values": ["7"]})
    await until(lambda: not hearings.get()._waits)
    assert stays.types() == ["websocket.accept"]


async def test_many_commands_are_one_look_and_slow_looks_are_seldom(connect, monkeypatch):
    looks, pauses = [], []

    def slow(by, values=()):
        looks.append(set(values))
        return []

    async def sleep(seconds):
        pauses.append(seconds)
        await asyncio.sleep(0)

    monkeypatch.setattr(hearing, "find", slow)
    monkeypatch.setattr(hearing.timers, "sleep", sleep)
    for took, pause in ((0.0, 0.05), (0.01, 0.2), (1.0, 0.5)):
        hearings.get().took = took
        for key in ("a", "b", "c"):
            await handlers.call(ENDED, {"values": [key]})
        await until(lambda: not hearings.get()._waits)
        assert looks.pop() == {"a", "b", "c"}
        assert looks == []
        assert pauses.pop() == pytest.approx(pause)

"""Which connections a command is about, as their scopes say now."""

from types import SimpleNamespace

import pytest
from django.utils.functional import LazyObject

from channels._runtime.connections import connections
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.revocation.finding import RENAMED, digest, digest_of, end, find
from tests.asgi import Server, until

ANNA = SimpleNamespace(pk=7, is_authenticated=True)
SESSION = SimpleNamespace(session_key="a-long-key")


@pytest.fixture
async def connect():
    servers = []

    async def connect(**scope):
        server = await Server(AsyncWebsocketConsumer.as_asgi(), **scope).connect()
        servers.append(server)
        [found] = [each for each in connections.get().open if each not in connect.known]
        connect.known.add(found)
        return found

    connect.known = set()
    connect.servers = servers
    yield connect
    for server in servers:
        await server.leave()


async def test_by_user_by_session_by_channel_and_all(connect):
    mine, other = await connect(user=ANNA, session=SESSION), await connect()
    assert find("user", {"7"}) == [mine]
    assert find("session", {digest("a-long-key")}) == [mine]
    assert find("channel", {other.channel_name}) == [other]
    assert set(find("all")) == {mine, other}


async def test_nobody_is_found_by_what_nobody_has(connect):
    await connect()
    assert (
        find("user", {"7"})
        == find("session", {digest("a-long-key")})
        == find("channel", {"x"})
        == []
    )


async def test_the_scope_counts_as_it_is_now(connect):
    found = await connect()
    found.scope["user"] = ANNA
    assert find("user", {"7"}) == [found]
    found.scope["user"] = SimpleNamespace(pk=7, is_authenticated=False)
    assert find("user", {"7"}) == []


async def test_a_session_that_has_got_another_key_is_found_by_that(connect):
    found = await connect(session=SESSION)
    found.scope[RENAMED] = (digest("a-long-key"), digest("another-key"))
    assert digest_of(found) == digest("another-key")
    assert find("session", {digest("another-key")}) == [found]
    assert find("session", {digest("a-long-key")}) == []


async def test_what_the_connection_itself_does_to_its_session_counts_more(connect):
    session = SimpleNamespace(session_key="a-long-key")
    found = await connect(session=session)
    found.scope[RENAMED] = (digest("a-long-key"), digest("another-key"))
    session.session_key = "its-own-key"
    assert digest_of(found) == digest("its-own-key")
    session.session_key = None
    assert digest_of(found) is None


async def test_nothing_is_loaded_to_find_out(connect):
    class Lazy(LazyObject):
        def _setup(self):
            raise AssertionError("loaded")

    found = await connect(user=Lazy(), session=Lazy())
    assert find("user", {"7"}) == []
    assert digest_of(found) is None


def test_a_digest_is_not_the_key():
    assert "a-long-key" not in digest("a-long-key")
    assert len(digest("a-long-key")) == 64


async def test_the_end_of_connections_and_how_many_they_are(connect):
    found = [await connect(), await connect()]
    assert end(found, 4000, "go away") == 2
    await until(lambda: all(s.sent[-1]["type"] == "websocket.close" for s in connect.servers))
    assert {server.sent[-1]["code"] for server in connect.servers} == {4000}


async def test_one_that_has_been_refused_has_nothing_to_end():
    server = Server(AsyncHttpConsumer.as_asgi(), "http", method="GET")
    server.start()
    await until(lambda: connections.get().open)
    [found] = connections.get().open
    await server.leave()
    await until(lambda: not connections.get().open)
    assert found.disconnect(4000, "") is None
    assert end([found], 4000, "") == 1

"""HTTP/2, and WebSockets over it, where the server speaks it; and that it does not elsewhere."""

import asyncio
from collections.abc import AsyncIterator

import httpx
import pytest

from tests.servers import SERVERS

from .http2 import Http2Connection
from .site import Site

pytestmark = pytest.mark.server

SOON = 1.0  # seconds


def servers_that(capability: str) -> pytest.MarkDecorator:
    """Run the test against these servers; what the others offer, the first test asserts."""
    names = [name for name, kind in SERVERS.items() if getattr(kind.can, capability)]
    return pytest.mark.parametrize("kind", names, indirect=True, scope="session")


@pytest.fixture
async def connection(site: Site) -> AsyncIterator[Http2Connection]:
    """A connection on which WebSockets can be opened; tests that need it end without one."""
    site.tolerated.append("Invalid HTTP request received")  # uvicorn's line for it
    async with Http2Connection("127.0.0.1", site.server.port) as connection:
        yield connection


async def test_what_the_server_offers(site: Site, connection):
    assert (connection.takes_websockets is not None) is site.can.http2
    assert bool(connection.takes_websockets) is site.can.websocket_over_http2


@servers_that("http2")
async def test_requests_share_a_connection(site: Site):
    async with httpx.AsyncClient(
        base_url=site.server.origin, http1=False, http2=True, trust_env=False
    ) as client:

        async def answer(body: bytes) -> httpx.Response:
            return await client.post("/consumer/answer/", params={"key": site.key()}, content=body)

        bodies = [b"%d" % number for number in range(10, 30)]
        answers = await asyncio.gather(*map(answer, bodies))
        # Alone: beside others, httpx was seen to wait for ever for room to send.
        large = await answer(b"ab" * 2**17)
    assert [answer.content for answer in answers] == [body[::-1] for body in bodies]
    assert (large.http_version, large.content) == ("HTTP/2", b"ba" * 2**17)


@servers_that("http2")
async def test_leaving_a_stream(site: Site, connection):
    key = site.key()
    stream = await connection.get(f"/consumer/stream/?key={key}")
    await connection.until(lambda: stream.body.startswith(b"part 1\npart 2\n"))
    stream.reset()
    await site.events.wait(key, "disconnect", SOON)
    await site.expect_line("Stream at /consumer/stream/: the handler of http.request was still")


@servers_that("websocket_over_http2")
async def test_sockets_share_a_connection(site: Site, connection):
    first, second = site.key(), site.key()
    one = await connection.open(f"/ws/async/?key={first}")
    two = await connection.open(f"/ws/sync/?key={second}")
    assert (one.status, two.status) == (200, 200)
    for message in ("Grüße 🙂", b"\x00" * 2**20, "x" * 2**20):
        await one.send(message)
        assert await one.recv() == message
    await two.send("!shout to all")
    assert [await one.recv(), await two.recv()] == ["to all", "to all"]
    await two.send("!close 4001 because")
    await connection.until(lambda: two.close_code is not None)
    assert two.close_code == 4001
    await site.events.wait(second, "disconnect", SOON)
    await one.send("unharmed")
    assert await one.recv() == "unharmed"
    await one.close(4002)
    left = await site.events.wait(first, "disconnect", SOON)
    assert left["code"] == (4002 if site.can.receives_close_code else 1006)


@servers_that("websocket_over_http2")
async def test_a_stream_that_is_reset(site: Site, connection):
    key = site.key()
    socket = await connection.open(f"/ws/async/?key={key}")
    socket.reset()
    assert (await site.events.wait(key, "disconnect", SOON))["code"] == site.can.reset_code


@servers_that("websocket_over_http2")
async def test_a_refusal(site: Site, connection):
    socket = await connection.open("/ws/nowhere/")
    await connection.until(lambda: socket.ended)
    assert (socket.status, socket.body) == (404, b"Not Found")
    await site.expect_line("Refused websocket /ws/nowhere/: No route found", "[404]")

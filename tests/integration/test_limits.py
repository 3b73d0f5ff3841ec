"""Attacks on each limit with real sockets: what the client gets, and what the site tells of it.

Each test comes from an address of its own (all of 127.0.0.0/8 is this machine), so that what one
has used up is not missed by another.
"""

import asyncio
import json
import re
import socket

import httpx
import pytest
import websockets

from tests.processes import environment
from tests.servers import SERVERS, RunningServer

pytestmark = pytest.mark.server

PROXY = "127.0.0.2"
_addresses = (f"127.0.{third}.{fourth}" for third in range(1, 255) for fourth in range(1, 255))


@pytest.fixture(scope="module", params=SERVERS)
def server(request, tmp_path_factory):
    kind = SERVERS[request.param]
    kind.require()
    log = tmp_path_factory.mktemp(request.param) / "log"
    env = environment(LIMITS_TRUSTED=json.dumps([PROXY]))
    application = "tests.integration.limits_site:application"
    with RunningServer(kind, application, log=log, env=env) as running:
        yield running


@pytest.fixture
def address():
    return next(_addresses)


@pytest.fixture(params=["async", "sync"])
def style(request):
    return request.param


def connecting(server, path, address, **options):
    options = {"compression": None, "max_size": None, "ping_interval": None} | options
    return websockets.connect(server.ws_url + path, local_addr=(address, 0), **options)


async def status_of(server, path, address, **options):
    """With which status a handshake is refused; 101 if it is not."""
    try:
        async with connecting(server, path, address, **options):
            return 101
    except websockets.InvalidStatus as error:
        return error.response.status_code


async def told(server):
    async with httpx.AsyncClient() as http:
        return (await http.get(f"{server.origin}/told/")).json()


async def until_signalled(server, path, what, number):
    """The site has signalled this so often, for this path."""
    async with asyncio.timeout(10):
        while (await told(server))["signalled"].get(f"{path} {what}", 0) < number:
            await asyncio.sleep(0.02)
    assert (await told(server))["signalled"][f"{path} {what}"] == number


async def expect_closed(server, client, code, reason):
    """The server closes it, with code and reason as far as it can tell them."""
    async with asyncio.timeout(10):
        await client.wait_closed()
    assert (client.close_code, client.close_reason) == (code, reason)


def refusal(server, status):
    return status if server.kind.can.denial_response else 403


async def test_handshakes_over_the_rate_are_refused(server, address, style):
    path = f"/{style}/handshakes/"
    before = (await told(server))["signalled"].get(f"{path} refused 429", 0)
    assert [await status_of(server, path, address) for _ in range(3)] == [101] * 3
    refused = [await status_of(server, path, address) for _ in range(30)]
    assert refused == [refusal(server, 429)] * 30
    await until_signalled(server, path, "handshakes address refused", before + 30)
    await until_signalled(server, path, "refused 429", before + 30)
    # Another client does not suffer from it.
    assert await status_of(server, path, next(_addresses)) == 101
    lines = re.findall(rf"Refused websocket {path}: .*{address}.*", server.output)
    assert 1 <= len(lines) <= 15
    assert "handshakes_per_address" in lines[0]


async def test_a_refused_handshake_says_when_to_try_again(server, address):
    if not server.kind.can.denial_response:
        pytest.skip("this server answers with 403 alone")
    for _ in range(3):
        await status_of(server, "/async/handshakes/", address)
    with pytest.raises(websockets.InvalidStatus) as caught:
        await connecting(server, "/async/handshakes/", address)
    assert 1000 < int(caught.value.response.headers["Retry-After"]) <= 1200


async def test_one_connection_too_many_is_refused(server, address, style):
    path = f"/{style}/connections/"
    async with connecting(server, path, address), connecting(server, path, address) as second:
        assert await status_of(server, path, address) == refusal(server, 429)
        await until_signalled(server, path, "connections address refused", 1)
        # One that breaks without goodbye leaves its place as well.
        second.transport.abort()
        async with asyncio.timeout(10):
            while await status_of(server, path, address) != 101:
                await asyncio.sleep(0.02)


async def test_messages_over_the_rate_close(server, address, style):
    path = f"/{style}/messages/"
    async with connecting(server, path, address) as client:
        # In one go: what comes after the close is not handled either. Granian does not read it,
        # so that a client which goes on for long finds the connection reset.
        for _ in range(6 if server.kind.package == "granian" else 500):
            await client.send("hello")
        await expect_closed(server, client, 4429, "Too many requests")
    assert (await told(server))["received"][path] == 5
    await until_signalled(server, path, "messages connection closed", 1)
    assert len(re.findall(rf"{style.title()}Messages.* closed with 4429", server.output)) == 1


async def test_bytes_over_the_rate_close(server, address, style):
    path = f"/{style}/bytes/"
    async with connecting(server, path, address) as client:
        await client.send("ä" * 499)  # each of two bytes
        assert (await client.recv()).startswith("499")
        await client.send(b"abc")
        await expect_closed(server, client, 4429, "Too many requests")
    assert (await told(server))["received"][path] == 1
    await until_signalled(server, path, "bytes connection closed", 1)


@pytest.mark.parametrize("split", [False, True], ids=["one frame", "many frames"])
async def test_a_message_over_the_size_closes(server, address, style, split):
    path = f"/{style}/size/"
    before = (await told(server))["signalled"].get(f"{path} message_size connection closed", 0)
    async with connecting(server, path, address) as client:
        await client.send("ä" * 500)
        assert (await client.recv()).startswith("500")
        await client.send(["ä" * 50] * 11 if split else "ä" * 501)
        await expect_closed(server, client, 1009, "Message too big")
    await until_signalled(server, path, "message_size connection closed", before + 1)


async def test_one_group_too_many_closes(server, address, style):
    path = f"/{style}/groups/"
    async with connecting(server, path, address) as client:
        for name in ("one", "two", "two"):
            await client.send(f"join {name}")
            await client.recv()
        await client.send("join three")
        await expect_closed(server, client, 4429, "Too many requests")
    await until_signalled(server, path, "groups connection refused", 1)


async def test_a_handshake_without_an_answer_is_refused(server, address, style):
    path = f"/{style}/silent/"
    assert await status_of(server, path, address) == refusal(server, 503)
    await until_signalled(server, path, "refused 503", 1)


async def test_handshakes_that_are_not_read_leave_nothing_behind(server, address):
    """A client that goes before it is answered holds no place."""
    path = "/async/connections/"
    request = (
        f"GET {path} HTTP/1.1\r\nHost: x\r\nConnection: Upgrade\r\nUpgrade: websocket\r\n"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n"
    )
    for _ in range(20):
        with socket.create_connection(("127.0.0.1", server.port), source_address=(address, 0)) as s:
            s.sendall(request.encode())
    async with asyncio.timeout(10):
        while await status_of(server, path, address) != 101:
            await asyncio.sleep(0.02)
    assert await status_of(server, path, address) == 101


async def test_slow_bodies_are_refused(server, address):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, local_addr=(address, 0)
    )
    writer.write(b"POST /body/ HTTP/1.1\r\nHost: x\r\nContent-Length: 1000\r\n\r\n")
    answer = asyncio.ensure_future(reader.read(100))
    for _ in range(40 if server.kind.can.streams_requests else 400):  # 0.5 s are allowed
        writer.write(b"a")
        await asyncio.wait((answer,), timeout=0.05 if server.kind.can.streams_requests else 0.002)
        if answer.done():
            break
    if server.kind.can.streams_requests:
        async with asyncio.timeout(10):
            assert (await answer).startswith(b"HTTP/1.1 408 ")
    else:  # the application knows nothing of the request before its end
        assert not answer.done()
        answer.cancel()
    writer.close()


async def test_large_bodies_are_refused(server, address):
    reader, writer = await asyncio.open_connection(
        "127.0.0.1", server.port, local_addr=(address, 0)
    )
    writer.write(b"POST /body/ HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n")
    for _ in range(20):
        writer.write(b"4000\r\n" + b"a" * 0x4000 + b"\r\n")
    writer.write(b"0\r\n\r\n")
    async with asyncio.timeout(10):
        line = await reader.readline()
    writer.close()
    assert line.startswith(b"HTTP/1.1 413 ")


class TestForwarded:
    async def address_for(self, server, address, *headers):
        async with connecting(
            server, "/async/echo/", address, additional_headers=list(headers)
        ) as client:
            await client.send("?")
            return (await client.recv()).split(" ")[1]

    @pytest.mark.parametrize(
        "forged",
        ["203.0.113.9", "127.0.0.2", "203.0.113.9, 127.0.0.2", "::1", "rubbish"],
    )
    @pytest.mark.parametrize("header", ["X-Forwarded-For", "Forwarded"])
    async def test_a_client_that_is_no_proxy_is_not_believed(self, server, address, header, forged):
        value = f"for={forged}" if header == "Forwarded" else forged
        assert await self.address_for(server, address, (header, value)) == address

    async def test_forged_addresses_do_not_get_round_a_limit(self, server, address):
        statuses = [
            await status_of(
                server,
                "/async/handshakes/",
                address,
                additional_headers={"X-Forwarded-For": f"203.0.113.{number}"},
            )
            for number in range(5)
        ]
        assert statuses == [101] * 3 + [refusal(server, 429)] * 2

    @pytest.mark.parametrize(
        ("values", "client"),
        [
            (["203.0.113.9"], "203.0.113.9"),
            (["198.51.100.1, 203.0.113.9"], "203.0.113.9"),
            (["198.51.100.1", "203.0.113.9"], "203.0.113.9"),
            (["203.0.113.9, 127.0.0.2"], "203.0.113.9"),
            (["203.0.113.9:4711"], "203.0.113.9"),
            (["[2001:db8::1]:4711"], "2001:db8::1"),
            (["2001:db8::1"], "2001:db8::1"),
            (["::ffff:203.0.113.9"], "203.0.113.9"),
            (["203.0.113.9, rubbish"], PROXY),
            (["203.0.113.9,"], PROXY),
            (["a" * 2000], PROXY),
        ],
    )
    async def test_a_proxy_is_believed(self, server, values, client):
        headers = [("X-Forwarded-For", value) for value in values]
        assert await self.address_for(server, PROXY, *headers) == client

    async def test_the_header_that_the_project_does_not_use_is_not_believed(self, server):
        header = ("Forwarded", "for=203.0.113.9")
        assert await self.address_for(server, PROXY, header) == PROXY

"""Servers with a root path, pings and limits, and applications that are no consumers."""

import asyncio
import contextlib
import json

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from .site import Site

pytestmark = pytest.mark.server

LIMIT = 64 * 2**10
FIXED_LIMIT = 16 * 2**20
PATIENCE = 15.0  # seconds: much longer than the interval of pings, and than the time to answer
SILENCE = 2.5  # seconds: longer than the interval of pings
PING = 0x89  # FIN and the opcode (RFC 6455, 5.2)


@pytest.fixture
def site(strict_site: Site) -> Site:
    return strict_site


async def test_root_path_of_a_websocket(site: Site, flavour):
    async with await site.connect(f"{flavour}/at/here/") as client:
        await client.send("!describe")
        scope = json.loads(await client.recv())
    assert (scope["path"], scope["place"]) == (f"/base/ws/{flavour}/at/here/", "here")


async def test_root_path_of_a_request(site: Site):
    url = f"{site.root}/consumer/at/here/"
    response = await site.http.get(url, params={"key": site.key()})
    expected = {"path": "/base/consumer/at/here/", "root_path": "/base", "place": "here"}
    assert response.json() == expected


async def test_a_proxy_that_strips_what_it_should_not_or_the_reverse(site: Site):
    site.root = "/base" if site.can.strips_root_path else ""
    with pytest.raises(InvalidStatus):
        await site.connect("async/")
    site.root = site.server.root
    await site.expect_line("Refused websocket", "No route found", "[404]")


async def test_messages_over_the_limit(site: Site):
    limit = LIMIT if site.can.message_limit == "as configured" else FIXED_LIMIT
    client = await site.connect("async/", max_size=None)
    await client.send("x" * limit)
    assert len(await client.recv()) == limit
    with contextlib.suppress(ConnectionClosed):  # the server may not read it to its end
        await client.send("x" * (limit + 1))
    # What the server has not read makes TCP reset the connection, perhaps before the code arrives.
    assert (await client.closed())[0] in {site.can.message_limit_code, 1006}
    await site.events.wait(client.key, "disconnect")


async def test_pings(site: Site):
    answering = await site.connect("async/")
    key = site.key()
    reader, writer = await asyncio.open_connection("127.0.0.1", site.server.port)
    writer.write(site.handshake("async/", key))
    await reader.readuntil(b"\r\n\r\n")
    try:
        async with asyncio.timeout(SILENCE if site.can.pings == "no" else PATIENCE):
            pinged = (await reader.readexactly(1))[0] == PING
    except TimeoutError:
        pinged = False
    assert pinged is (site.can.pings != "no")
    if site.can.pings == "yes":
        left = await site.events.wait(key, "disconnect", PATIENCE)
        assert left["code"] == site.can.ping_timeout_code
    else:
        assert site.can.ping_timeout_code is None
        await asyncio.sleep(SILENCE / 2 if pinged else 0)
        assert not site.events.of(key, "disconnect")
    writer.close()
    with contextlib.suppress(ConnectionError):  # the server may have reset it
        await writer.wait_closed()
    await answering.send("still here")
    assert await answering.recv() == "still here"


async def test_an_application_that_does_not_answer_the_handshake(site: Site):
    with pytest.raises(InvalidHandshake) as caught:
        await site.connect("raw/unanswered/")
    if isinstance(caught.value, InvalidStatus):
        assert caught.value.response.status_code == site.can.early_refusal
    else:
        assert site.can.early_refusal is None
    site.tolerated.append("ASGI callable returned")


async def test_an_application_that_returns_with_the_socket_open(site: Site):
    client = await site.connect("raw/open/")
    await client.send("return")
    if site.can.early_close is None:
        with pytest.raises(TimeoutError):
            await asyncio.wait_for(client.wait_closed(), SILENCE / 2)
    else:
        assert (await client.closed())[0] == site.can.early_close
    site.tolerated.append("ASGI callable returned")

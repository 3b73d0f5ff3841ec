"""uvicorn, as far as it goes without it; the real one is in tests/conformance/servers."""

import asyncio

from channels._runtime.servers.uvicorn import Uvicorn, after_denial
from tests.unit.runtime.servers import standins


async def test_a_connection_is_aborted_at_its_transport():
    client = standins.Uvicorn()
    server = Uvicorn.of(client.protocol, client.scope, client.send, client.receive)
    assert server.abort()
    assert client.transport.aborted == 1
    assert not server.close_waits_for_receive
    assert not server.begin()


async def test_the_object_of_another_client_is_none_of_this_connections():
    client, other = standins.Uvicorn(), standins.Uvicorn()
    assert Uvicorn.of(other.protocol, client.scope, client.send, client.receive) is None


async def test_a_connection_that_requests_share_is_not_aborted():
    client = standins.Uvicorn(http_version="2")
    server = Uvicorn.of(client.protocol, client.scope, client.send, client.receive)
    assert not server.abort()
    assert client.transport.aborted == 0


async def test_its_event_loop_turns_after_a_denial():
    turned = []
    asyncio.get_running_loop().call_soon(turned.append, True)
    await after_denial()
    assert turned

"""Granian, as far as it goes without it; the real one is in tests/conformance/servers."""

from channels._runtime.servers.granian import Granian
from tests.unit.runtime.servers import standins


async def test_it_is_closed_while_nobody_receives_and_cannot_be_aborted():
    client = standins.Granian()
    server = Granian.of(client.protocol, client.scope, client.send, client.receive)
    assert server.close_waits_for_receive
    assert not server.abort()
    assert not server.begin()

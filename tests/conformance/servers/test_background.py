"""Background tasks end with their connection, however it ends, and before ``disconnect()``.

That nothing of them stays behind is checked after every test, as everywhere.
"""

import pytest

from .site import Client, Site, reset

pytestmark = pytest.mark.server

IN_ORDER = ["connect", "working", "worked", "disconnect"]


async def working(site: Site, flavour: str, argument: str = "") -> Client:
    """A client whose consumer works in the background, and handles messages meanwhile."""
    client = await site.connect(f"{flavour}/")
    await client.send(f"!work {argument}")
    assert await client.recv() == "working"
    return client


@pytest.mark.parametrize("abrupt", [False, True])
async def test_the_client_leaves(site: Site, flavour, abrupt):
    client = await working(site, flavour)
    await client.send("handled meanwhile")
    assert await client.recv() == "handled meanwhile"
    if abrupt:
        reset(client)
    else:
        await client.close()
    await site.events.wait(client.key, "disconnect")
    assert [event["event"] for event in site.events.of(client.key)] == IN_ORDER


async def test_the_task_crashes(site: Site, flavour, actor):
    client = await working(site, flavour, "crash")
    assert (await client.closed())[0] == site.code(1011)
    assert (await site.events.wait(client.key, "disconnect"))["code"] == 1011
    assert [event["event"] for event in site.events.of(client.key)] == IN_ORDER
    await site.expect_crash(actor, f"/ws/{flavour}/", "tests.realapp.websockets.DeliberateError")


async def test_the_consumer_closes(site: Site, flavour):
    client = await working(site, flavour)
    await client.send("!close 4001")
    assert (await client.closed())[0] == 4001
    await site.events.wait(client.key, "disconnect")
    assert [event["event"] for event in site.events.of(client.key)] == IN_ORDER

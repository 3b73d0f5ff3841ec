"""The server is told to stop (SIGTERM) while clients are connected and handlers run."""

import asyncio
from collections.abc import Iterator
from types import SimpleNamespace

import pytest

from .conftest import Start
from .site import Client, Site

pytestmark = pytest.mark.server

CLIENTS = ["idle async", "idle sync", "busy async", "busy sync", "sending sync"]

# Seconds until the server has ended. Servers wait 10 for what hangs.
PROMPTLY = 8


async def see_it_stop(site: Site) -> dict[str, Client]:
    async with site.http:
        clients = {
            "idle async": await site.connect("async/"),
            "idle sync": await site.connect("sync/"),
            "busy async": await site.connect("async/"),
            "busy sync": await site.connect("sync/"),
            "sending sync": await site.connect("sync/"),
        }
        await clients["busy async"].send("!sleep 30")
        await clients["busy sync"].send("!sleep 1")
        await clients["sending sync"].send("!answer_after 0.5")
        for name in ("busy async", "busy sync", "sending sync"):
            await site.events.wait(clients[name].key, "sleeping")
        await clients["idle async"].send("!describe")
        site.described = await clients["idle async"].recv()
        site.server.terminate()
        await asyncio.gather(*(client.closed() for client in clients.values()))
        await asyncio.to_thread(site.server.wait, PROMPTLY)
        return clients


@pytest.fixture(scope="module")
def stopped(start: Start) -> Iterator[SimpleNamespace]:
    """What is known about a server that was stopped, and its clients by what they were doing."""
    with start() as (server, directory):
        site = Site(server, directory)
        clients = asyncio.run(see_it_stop(site))
        yield SimpleNamespace(site=site, clients=clients, can=site.can, events=site.events)


@pytest.mark.parametrize("name", CLIENTS)
def test_every_client_is_disconnected_once(stopped, name):
    key = stopped.clients[name].key
    disconnects = stopped.events.of(key, "disconnect")
    codes = [event["code"] for event in disconnects]
    assert codes == ([1012] if stopped.can.learns_of_shutdown else [])


@pytest.mark.parametrize("name", CLIENTS)
def test_clients_are_told_to_come_back(stopped, name):
    assert stopped.clients[name].close_code == (
        1012 if stopped.can.tells_clients_to_return else 1006
    )


def test_a_sync_handler_that_sends_meanwhile_ends(stopped):
    assert stopped.events.of(stopped.clients["sending sync"].key, "slept")


def test_a_sync_handler_finishes_and_an_async_one_is_cancelled(stopped):
    assert stopped.events.of(stopped.clients["busy sync"].key, "slept")
    assert not stopped.events.of(stopped.clients["busy async"].key, "slept")


def test_the_server_ends_without_a_complaint(stopped):
    assert stopped.site.server.process.returncode in (0, -15)  # uvicorn lets SIGTERM have its way
    tracebacks = stopped.site.server.output.count("Traceback")
    # Some versions of asyncio log a traceback for every connection that Hypercorn cancels.
    assert tracebacks == stopped.site.server.output.count("callback StreamReaderProtocol")


def test_lifespan_hooks_run_once_each(stopped):
    names = [event["event"] for event in stopped.events.of("lifespan")]
    assert names == (["started", "stopped"] if stopped.can.lifespan else [])


def test_connections_see_the_lifespan_state(stopped):
    expected = '"state": {"greeting": "hello"}' if stopped.can.lifespan else '"state": null'
    assert expected in stopped.site.described

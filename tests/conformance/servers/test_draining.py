"""The server is told to end: connections end one after another, and none is forgotten."""

import asyncio
import time
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import pytest
from websockets.exceptions import ConnectionClosed, InvalidHandshake, InvalidStatus

from tests.servers import ServerKind

from .conftest import Start
from .site import Client, Site

pytestmark = pytest.mark.server

TWINS = ("async", "sync")
CLIENTS = 30
DEADLINE = 8.0
# Granian's main process kills a worker that has not ended after 10 s, which some do not.
ENDED = 15.0


@asynccontextmanager
async def draining(start: Start, *, workers: bool = False, **setting: float) -> AsyncIterator[Site]:
    """A server with connected clients."""
    with start(workers=workers, **setting) as (server, directory):
        site = Site(server, directory)
        async with site.http:
            yield site
            await site.leave()


async def crowd(site: Site) -> list[Client]:
    return [await site.connect(f"{TWINS[n % 2]}/") for n in range(CLIENTS)]


async def closing(client: Client) -> float:
    """When the client was closed."""
    with pytest.raises(ConnectionClosed):
        while True:
            await client.recv()
    return time.monotonic()


def check_told(site: Site, clients: list[Client]) -> None:
    """Every client and every consumer was told, and nothing went wrong."""
    assert {client.close_code for client in clients} == {1012}
    for client in clients:
        assert [event["code"] for event in site.events.of(client.key, "disconnect")] == [1012]
    assert {e["groups"] for e in site.events.of("lifespan", "stopped")} <= {0}
    tracebacks = site.server.output.count("Traceback")
    # Some versions of asyncio log a traceback for every connection that Hypercorn cancels.
    assert tracebacks == site.server.output.count("callback StreamReaderProtocol")


async def test_closes_are_spread_over_time_and_who_comes_meanwhile_is_refused(start: Start):
    async with draining(start, SPREAD=2) as site:
        clients = await crowd(site)
        site.server.terminate()
        ends = [asyncio.create_task(closing(client)) for client in clients]
        await asyncio.wait(ends, return_when=asyncio.FIRST_COMPLETED)
        await check_refused(site)
        closed = sorted(await asyncio.gather(*ends))
        assert 1 < closed[-1] - closed[0] < DEADLINE
        # Not in two crowds either: both halves of the time have their share.
        middle = (closed[0] + closed[-1]) / 2
        assert CLIENTS / 5 < sum(moment < middle for moment in closed) < CLIENTS * 4 / 5
        await asyncio.to_thread(site.server.wait, ENDED)
        check_told(site, clients)


async def check_refused(site: Site) -> None:
    if site.can.serves_while_draining:
        with pytest.raises(InvalidStatus) as refusal:
            await site.connect("async/")
        expected = 503 if site.can.denial_response else 403
        assert refusal.value.response.status_code == expected
    else:
        with pytest.raises((OSError, InvalidHandshake)):
            await site.connect("async/")


async def test_a_few_connections_do_not_take_long(start: Start):
    """One of them is a long poll, whose response is ended properly; one has a background task."""
    async with draining(start) as site:
        client, key = await site.connect("async/"), site.key()
        await client.send("!work")
        await site.events.wait(client.key, "working")
        async with site.http.stream("GET", f"/consumer/poll/?key={key}") as response:
            parts = response.aiter_text()
            assert await anext(parts) == "waiting\n"
            began = time.monotonic()
            site.server.terminate()
            assert await closing(client) - began < 2
            assert [part async for part in parts] == []
        await asyncio.to_thread(site.server.wait, ENDED)
        check_told(site, [client])
        events = [event["event"] for event in site.events.of(client.key)]
        assert events == ["connect", "working", "worked", "disconnect"]
        await site.events.wait(key, "disconnect")


async def test_every_worker_process_drains(kind: ServerKind, start: Start):
    if not kind.workers:
        pytest.skip(f"{kind.package} has no worker processes")
    async with draining(start, workers=True, SPREAD=0.5) as site:
        clients = await crowd(site)
        site.server.terminate()
        await asyncio.gather(*(closing(client) for client in clients))
        await asyncio.to_thread(site.server.wait, ENDED)
        check_told(site, clients)


async def test_load_balancers_get_notice_first(start: Start):
    async with draining(start, NOTICE=2, SPREAD=0) as site:
        client = await site.connect("async/")
        assert (await site.http.get("/ready/")).status_code == 200
        site.server.terminate()
        if site.can.serves_while_draining:
            end = time.monotonic() + 1.5
            while (await site.http.get("/ready/")).status_code != 503:
                assert time.monotonic() < end
            await site.connect("async/")
        await client.send("still here")
        # Sent and answered before it was closed, if the notice was kept.
        assert await closing_after(client, "still here") == 1012
        await asyncio.to_thread(site.server.wait, ENDED)


async def closing_after(client: Client, *expected: str) -> int | None:
    received = []
    with pytest.raises(ConnectionClosed):
        while True:
            received.append(await client.recv())
    assert received == list(expected)
    return client.close_code


async def test_the_deadline_is_kept(start: Start):
    """Somebody never answers the close: the others do not wait for him longer than that."""
    async with draining(start, SPREAD=0, DEADLINE=1) as site:
        client = await site.connect("async/")
        client.transport.pause_reading()
        site.server.terminate()
        await site.events.wait(client.key, "disconnect")
        assert site.events.of(client.key, "disconnect")[0]["code"] == 1012
        client.transport.resume_reading()
        await asyncio.to_thread(site.server.wait, ENDED)


async def test_clients_that_do_not_read_keep_no_process(start: Start):
    """Handlers wait for them when the deadline comes, and they read nothing afterwards either."""
    async with draining(start, SPREAD=0, DEADLINE=1) as site:
        clients = [await site.connect(f"{flavour}/", ping_interval=None) for flavour in TWINS]
        for client in clients:
            client.transport.pause_reading()
            await client.send("!pour")
            await site.events.wait(client.key, "pouring")
        site.server.terminate()
        await asyncio.to_thread(site.server.wait, ENDED)
        for client in clients:
            assert len(site.events.of(client.key, "disconnect")) == 1


async def test_a_second_signal_is_the_servers_at_once(kind: ServerKind, start: Start):
    if kind.package in {"hypercorn", "granian"}:
        pytest.skip(f"the main process of {kind.package} passes one signal on")
    async with draining(start, NOTICE=7.5) as site:
        client = await site.connect("async/")
        site.server.terminate()
        while (await site.http.get("/ready/")).status_code != 503:
            pass
        await asyncio.sleep(2.5)  # what comes sooner is taken for the same signal
        began = time.monotonic()
        site.server.terminate()
        await closing(client)
        await asyncio.to_thread(site.server.wait, ENDED)
        assert time.monotonic() - began < 4

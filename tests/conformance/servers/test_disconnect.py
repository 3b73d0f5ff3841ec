"""However a connection ends, ``disconnect()`` runs exactly once, soon, and nothing stays behind.

That it ran once, and that the server holds nothing more, is checked after every test here and
elsewhere, for every connection the test has made.
"""

import asyncio
import socket
import struct

import pytest
from websockets.exceptions import InvalidStatus

from .site import Site, reset

pytestmark = pytest.mark.server

# Seconds within which a disconnect must be handled: 20 times what it takes by default, for
# machines that are busy with other things.
SOON = 1.0


async def test_an_abrupt_reset(site: Site, flavour):
    client = await site.connect(f"{flavour}/")
    reset(client)
    assert (await site.events.wait(client.key, "disconnect", SOON))["code"] == site.can.reset_code


@pytest.mark.parametrize("abrupt", [False, True])
async def test_leaving_while_an_async_handler_runs(site: Site, abrupt):
    client = await site.connect("async/")
    await client.send("!sleep 30")
    await site.events.wait(client.key, "sleeping")
    if abrupt:
        reset(client)
    else:
        await client.close()
    await site.events.wait(client.key, "disconnect", SOON)
    assert not site.events.of(client.key, "slept")
    await site.expect_line(
        "WARNING channels.consumer",
        "AsyncActor at /ws/async/: the handler of websocket.receive was still running",
    )


async def test_leaving_while_a_sync_handler_runs(site: Site):
    """A thread cannot be stopped: its handler ends first, so that no two run at once."""
    client = await site.connect("sync/")
    await client.send("!wait")
    await site.events.wait(client.key, "waiting")
    reset(client)
    await site.state()  # a request and its answer: the server has had its time to notice
    await site.open_gate(client.key)
    await site.events.wait(client.key, "disconnect", SOON)
    events = [event["event"] for event in site.events.of(client.key)]
    assert events == ["connect", "waiting", "waited", "disconnect"]


@pytest.mark.parametrize("abrupt", [False, True])
async def test_leaving_during_connect(site: Site, flavour, abrupt):
    key = site.key()
    raw = socket.create_connection(("127.0.0.1", site.server.port))
    with raw:
        raw.sendall(site.handshake(f"{flavour}/?connect=linger", key))
        await site.events.wait(key, "waiting")
        if abrupt:
            raw.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    cancelled = flavour == "async" and site.can.notices_leaving_before_accept
    if cancelled:
        await site.expect_line("the handler of websocket.connect was still running")
    else:
        await site.state()  # a request and its answer: the server has had its time to notice
        assert not site.events.of(key, "disconnect")
        await site.open_gate(key)
    await site.events.wait(key, "disconnect", SOON)
    assert bool(site.events.of(key, "waited")) is not cancelled


async def test_a_crash(site: Site, flavour, actor):
    bystander = await site.connect(f"{flavour}/")
    client = await site.connect(f"{flavour}/")
    await client.send("!crash")
    assert (await client.closed())[0] == site.code(1011)
    assert (await site.events.wait(client.key, "disconnect", SOON))["code"] == 1011
    await site.expect_crash(actor, f"/ws/{flavour}/", "tests.realapp.websockets.DeliberateError")
    await bystander.send("hello")
    assert await bystander.recv() == "hello"


# What ends a process or a task where nobody catches it, and the line it leaves in the log.
EXITS = {
    "exit": "SystemExit: 3",
    "interrupt": "KeyboardInterrupt",
    "generator": "GeneratorExit",
    "own": "tests.realapp.websockets.OwnExit",
    "cancelled": "asyncio.exceptions.CancelledError",
}


async def expect_exit(site: Site, actor: str, path: str, what: str) -> None:
    await site.expect_crash(actor, path, EXITS[what])
    # One entry. A KeyboardInterrupt that came from a thread has its cause above it.
    entries = "\n".join(site.log).count("Traceback (most recent call last)")
    site.expected_tracebacks = max(1, min(entries, 2))


@pytest.mark.parametrize("what", EXITS)
async def test_what_is_no_error_ends_one_connection(site: Site, flavour, actor, what):
    bystander = await site.connect(f"{flavour}/")
    client = await site.connect(f"{flavour}/")
    await client.send(f"!exit {what}")
    assert (await client.closed())[0] == site.code(1011)
    assert (await site.events.wait(client.key, "disconnect", SOON))["code"] == 1011
    await expect_exit(site, actor, f"/ws/{flavour}/", what)
    await bystander.send("hello")
    assert await bystander.recv() == "hello"


@pytest.mark.parametrize("what", ["exit", "cancelled"])
async def test_what_is_no_error_in_connect(site: Site, flavour, actor, what):
    with pytest.raises(InvalidStatus) as refused:
        await site.connect(f"{flavour}/", query={"connect": f"exit {what}"})
    assert refused.value.response.status_code == (500 if site.can.denial_response else 403)
    await expect_exit(site, actor, f"/ws/{flavour}/", what)


@pytest.mark.parametrize("what", ["exit", "cancelled"])
async def test_what_is_no_error_in_disconnect(site: Site, flavour, actor, what):
    client = await site.connect(f"{flavour}/", query={"disconnect": f"exit {what}"})
    await client.close()
    await expect_exit(site, actor, f"/ws/{flavour}/", what)


async def test_a_crash_in_disconnect(site: Site, flavour, actor):
    client = await site.connect(f"{flavour}/", query={"disconnect": "crash"})
    await client.close()
    await site.expect_crash(actor, f"/ws/{flavour}/", "tests.realapp.websockets.DeliberateError")


async def test_a_crash_after_which_disconnect_crashes(site: Site, flavour, actor):
    client = await site.connect(f"{flavour}/", query={"disconnect": "crash"})
    await client.send("!crash")
    await site.events.wait(client.key, "disconnect", SOON)
    await site.expect_crash(actor, f"/ws/{flavour}/", "tests.realapp.websockets.DeliberateError")
    await site.expect_line(f"{actor} at /ws/{flavour}/ failed while it was disconnecting")
    site.expected_tracebacks += 1


@pytest.mark.slow
async def test_a_thousand_resets(site: Site):
    async def visit(number: int) -> None:
        client = await site.connect("sync/" if number % 2 else "async/")
        if number % 3:
            await client.send("!shout to all" if number % 30 == 1 else "hello")
        reset(client)

    async with asyncio.timeout(60):
        for start in range(0, 1000, 50):
            await asyncio.gather(*(visit(number) for number in range(start, start + 50)))
    assert len(site.visitors()) == 1000
    # Where send() waits for a client that has gone, its handler is rightly cancelled.
    site.tolerated.append("the handler of websocket.receive was still running")


async def test_a_close_reaches_no_other_client(site: Site, flavour):
    """Also if middleware knows both: the one that is closed, and its neighbour."""
    neighbour = await site.connect(f"{flavour}/neighbours/")
    client = await site.connect(f"{flavour}/neighbours/")
    await client.send("!close 4001 because")
    assert (await client.closed())[0] == 4001
    await neighbour.send("hello")
    assert await neighbour.recv() == "hello"
    assert not site.events.of(neighbour.key, "disconnect")

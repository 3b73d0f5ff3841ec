"""One side is slower than the other: nobody else suffers, memory is bounded, nothing is lost."""

import asyncio
import time

import pytest
from websockets.exceptions import ConnectionClosed

from .site import Client, Site, reset, until

pytestmark = [pytest.mark.server, pytest.mark.slow]

MEBIBYTE = 2**20
FRAME = 64 * 2**10
FRAMES = 512
STILL = 0.5  # seconds without progress after which a side is taken to be held back


async def slowest_echo(client: Client, seconds: float) -> float:
    """The longest time that an echo takes, in seconds."""
    slowest, end = 0.0, time.monotonic() + seconds
    while (start := time.monotonic()) < end:
        await client.send("hello")
        assert await client.recv() == "hello"
        slowest = max(slowest, time.monotonic() - start)
        await asyncio.sleep(0.01)
    return slowest


async def test_a_blocking_handler_delays_nobody_else(site: Site):
    blocker = await site.connect("sync/")
    others = [await site.connect("sync/"), await site.connect("async/")]
    await blocker.send("!sleep 1.5")
    await site.events.wait(blocker.key, "sleeping")
    slowest = await asyncio.gather(*(slowest_echo(other, 1.2) for other in others))
    assert not site.events.of(blocker.key, "slept")
    assert max(slowest) < 0.5
    await site.events.wait(blocker.key, "slept")


class Flood:
    """Sends numbered frames, without waiting for answers."""

    def __init__(self, client: Client) -> None:
        self.client, self.sent, self.progress = client, 0, time.monotonic()

    async def run(self) -> None:
        for number in range(FRAMES):
            await self.client.send(number.to_bytes(4) * (FRAME // 4))
            self.sent, self.progress = number + 1, time.monotonic()

    def is_still(self) -> bool:
        return time.monotonic() - self.progress > STILL


async def test_a_flood_is_held_back_by_tcp_and_nothing_is_lost(site: Site, flavour):
    client = await site.connect(f"{flavour}/")
    await client.send("!wait")
    await site.events.wait(client.key, "waiting")
    before = site.server.resident_bytes()
    flood = Flood(client)
    async with asyncio.timeout(30), asyncio.TaskGroup() as tasks:
        sending = tasks.create_task(flood.run())
        await until(flood.is_still, "the flood comes to a stand")
        assert not sending.done()
        # What waits is in the sockets' buffers, which are the kernel's.
        assert site.server.resident_bytes() - before < FRAMES * FRAME // 2
        await site.open_gate(client.key)
        for number in range(FRAMES):
            frame = await client.recv()
            assert (len(frame), int.from_bytes(frame[:4])) == (FRAME, number)


async def test_a_client_that_does_not_read(site: Site, flavour):
    client = await site.connect(f"{flavour}/")
    before = site.server.resident_bytes()
    client.transport.pause_reading()
    await client.send("!pour")
    await site.events.wait(client.key, "pouring")
    with pytest.raises(AssertionError, match="not within"):
        await site.events.wait(client.key, "poured", deadline=STILL)
    assert site.server.resident_bytes() - before < 32 * MEBIBYTE  # half of what it pours
    reset(client)
    await site.events.wait(client.key, "disconnect")


async def expect_cut_off(client: Client, site: Site) -> None:
    """The client finds the connection broken, where that can be done: no close could reach it."""
    if site.can.cuts_off:
        client.transport.resume_reading()
        async with asyncio.timeout(15):
            with pytest.raises(ConnectionClosed):
                while True:
                    await client.recv()
        assert client.close_code == 1006
    else:
        reset(client)


async def test_a_client_that_does_not_read_is_let_go(site: Site, flavour):
    """After ``send_timeout``, and nobody in its group has to wait for it."""
    before = site.server.resident_bytes()
    reader = await site.connect(f"{flavour}/")
    client = await site.connect(f"{flavour}/impatient/", ping_interval=None)
    client.transport.pause_reading()
    await client.send("!pour")
    await site.events.wait(client.key, "pouring")
    slowest = 0.0
    while not site.events.of(client.key, "disconnect"):
        start = time.monotonic()
        await reader.send("!shout hello")
        assert await reader.recv() == "hello"
        slowest = max(slowest, time.monotonic() - start)
        assert slowest < 5
        await asyncio.sleep(0.05)
    assert [event["code"] for event in site.events.of(client.key, "disconnect")] == [1013]
    await expect_cut_off(client, site)
    await site.expect_line("WARNING channels.consumer", "the client has not read for")
    # Nothing is kept for it, in the server or, on its behalf, in the kernel.
    await until(
        lambda: site.server.resident_bytes() - before < 32 * MEBIBYTE, "its memory is given back"
    )


async def test_no_other_client_is_cut_off(site: Site, flavour):
    """Also if middleware knows both: the one that does not read, and its neighbour."""
    neighbour = await site.connect(f"{flavour}/neighbours/")
    client = await site.connect(f"{flavour}/neighbours/", ping_interval=None)
    client.transport.pause_reading()
    await client.send("!pour")
    assert (await site.events.wait(client.key, "disconnect"))["code"] == 1013
    await site.expect_line("WARNING channels.consumer", "the client has not read for")
    await neighbour.send("hello")
    assert await neighbour.recv() == "hello"
    await expect_cut_off(client, site)

"""Other processes: killed while others send to them, and with clocks of their own."""

import asyncio
import contextlib
import json
import os
import sys
from pathlib import Path

import pytest

from ..asgi import until
from .harness import Room, Sender, check_nothing_lost, sending, settle

ROOT = Path(__file__).resolve().parents[2]


@contextlib.asynccontextmanager
async def peer(broker, *, clock=0, **options):
    """Another process, and the name of its channel."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.peer", str(broker.port),
        "--clock", str(clock), "--options", json.dumps(options),
        cwd=ROOT, env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(20):
            line = await process.stdout.readline()
        assert line, "the process ended"
        yield process, line.decode().strip()
    finally:
        with contextlib.suppress(ProcessLookupError):
            process.kill()
        await process.wait()


def keys_of(broker, channel):
    """Keys and memberships that carry the name of a channel's process."""
    name = channel.partition("!")[0].rpartition(".")[2].encode()
    with broker.client() as client:
        found = [key for key in client.scan_iter(b"*") if name in key]
        for key in client.scan_iter(b"*:group:*"):
            found += [(key, member) for member in client.zrange(key, 0, -1) if name in member]
    return found


async def test_a_killed_process_disturbs_nobody_and_leaves_nothing_beyond_its_lease(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with (
        Room(here) as room,
        sending(there) as senders,
        peer(broker, lease=1.5, capacity=100_000) as (process, channel),
    ):
        await senders[0].reaches(50)
        assert keys_of(broker, channel)
        process.kill()
        await process.wait()
        await senders[0].reaches(50)
        await until(lambda: not keys_of(broker, channel), 4)
        await there.send(channel, {"type": "too.late"})
        assert there.statistics.dropped == {"closed": 1}
        await settle(room, senders)
        check_nothing_lost(room, senders)


async def test_a_killed_process_leaves_nothing_where_nobody_sends(layers, broker):
    async with peer(broker, lease=1.0) as (process, channel):
        assert keys_of(broker, channel)
        process.kill()
        await process.wait()
        await until(lambda: not keys_of(broker, channel), 4)


async def test_a_living_process_outlives_its_lease(layers, broker):
    async with Room(layers(broker.address, lease=0.6)) as room:
        sender = Sender(layers(broker.address))
        for _ in range(4):
            await asyncio.sleep(0.5)
            await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])


@pytest.mark.parametrize("hours", [-1, 1])
async def test_clocks_an_hour_apart_make_no_difference(layers, broker, hours):
    """Not for expiry, not for leases, not for encryption, and not for the order."""
    options = {"expiry": 5, "lease": 1.5, "symmetric_encryption_keys": ["secret"]}
    layer = layers(broker.address, **options)
    async with (
        Room(layer) as room,
        peer(broker, clock=hours * 3600, **options) as (_, channel),
    ):
        to_group, to_channel = Sender(layer), Sender(layer, channel=channel)
        for _ in range(100):
            await to_group.send_one()
            await to_channel.send_one()
        await room.hears((to_group.name, 99))
        answers = []
        async with asyncio.timeout(5):
            while len(answers) < 200:
                answers.append(await layer.receive("answers"))
        for sender in (to_group, to_channel):
            own = [answer["n"] for answer in answers if answer["sender"] == sender.name]
            assert own == list(range(100))
        layer.statistics.delivered -= 200  # so that the room's are left
        layer.statistics.sent -= 200
        check_nothing_lost(room, [to_group])


@pytest.mark.parametrize("hours", [-1, 1])
async def test_messages_expire_by_the_time_that_has_passed(layers, broker, hours):
    async with peer(broker, clock=hours * 3600, expiry=1) as (_, channel):
        layer = layers(broker.address, expiry=1)
        await layer.send(channel, {"type": "old"})
        await until(lambda: broker.cli("XLEN", "{faults:0}:queue:answers") == 1)
        await asyncio.sleep(1.2)
        await layer.send(channel, {"type": "fresh"})
        async with asyncio.timeout(5):
            assert await layer.receive("answers") == {"type": "fresh"}

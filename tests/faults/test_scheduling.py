"""What is scheduled is sent once, whoever dies: real processes, killed, on a real server."""

import asyncio
import contextlib
import json
import os
import sys
import time
import uuid
from collections import Counter
from pathlib import Path

import pytest

from ..asgi import until
from ..brokers import running
from .harness import GROUP

ROOT = Path(__file__).resolve().parents[2]
COUNT = 500


@pytest.fixture
def prefix():
    return uuid.uuid4().hex


@contextlib.asynccontextmanager
async def process(broker, prefix, *options):
    """A process of ``scheduling.py`` that is ready."""
    child = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "tests.faults.scheduling", str(broker.port), prefix, *options,
        cwd=ROOT, env={**os.environ, "DJANGO_SETTINGS_MODULE": "tests.settings"},
        stdout=asyncio.subprocess.PIPE,
    )  # fmt: skip
    try:
        async with asyncio.timeout(120):
            assert await child.stdout.readline() == b"ready\n"
        yield child
    finally:
        await kill(child)


async def kill(child):
    with contextlib.suppress(ProcessLookupError):
        child.kill()
    await child.wait()


async def processes(stack, broker, prefix, *all_options):
    """Several of them, which start at the same time."""
    made = [process(broker, prefix, *options) for options in all_options]
    return await asyncio.gather(*map(stack.enter_async_context, made))


def got(broker, prefix):
    """How often each message was received, by its number."""
    with broker.client() as redis:
        return Counter(json.loads(m)["n"] for m in redis.lrange(f"{prefix}:got", 0, -1))


def left(broker, prefix):
    with broker.client() as redis:
        return redis.zcard(f"{{{prefix}:0}}:later")


def once(count):
    return dict.fromkeys(range(count), 1)


@pytest.mark.parametrize("count", [2, pytest.param(4, marks=pytest.mark.slow)])
async def test_processes_that_race_send_each_message_once(broker, layers, prefix, count):
    """The clock of one of them is wrong."""
    options = [["--clock", "3600" if number == 1 else "0"] for number in range(count)]
    async with contextlib.AsyncExitStack() as stack:
        await processes(stack, broker, prefix, *options)
        sender = layers(broker.address, prefix=prefix)
        start = time.monotonic()
        messages = [{"type": "t", "n": number} for number in range(COUNT)]
        await asyncio.gather(*(sender.send_later("jobs", m, delay=1.0) for m in messages))
        assert not got(broker, prefix) or time.monotonic() - start > 1
        await until(lambda: sum(got(broker, prefix).values()) >= COUNT, 20)
        await until(lambda: left(broker, prefix) == 0)
    assert got(broker, prefix) == once(COUNT)


async def test_a_sender_that_was_killed_when_nobody_was_there(broker, prefix):
    async with process(broker, prefix, "--schedule", "20") as sender:
        await kill(sender)
    await asyncio.sleep(0.4)  # all are overdue
    assert left(broker, prefix) == 20
    async with process(broker, prefix):
        await until(lambda: len(got(broker, prefix)) == 20, 10)
    assert got(broker, prefix) == once(20)


@pytest.mark.slow
async def test_a_broker_that_is_killed_and_comes_back_with_its_data(layers, prefix):
    with running("valkey", "--appendonly", "yes", "--appendfsync", "always") as broker:
        sender = layers(broker.address, prefix=prefix)
        for number in range(20):
            await sender.send_later("jobs", {"type": "t", "n": number}, delay=0.5)
        async with process(broker, prefix):
            await asyncio.to_thread(broker.kill)
            await asyncio.sleep(0.6)
            await asyncio.to_thread(broker.start)
            await until(lambda: len(got(broker, prefix)) == 20, 20)
            assert got(broker, prefix) == once(20)


@pytest.mark.slow
async def test_group_messages_when_processes_are_killed_while_they_send(broker, layers, prefix):
    """None is lost, and each process that was killed may have sent one that is sent again."""
    async with contextlib.AsyncExitStack() as stack:
        await processes(stack, broker, prefix, ["--member", "--lease", "1.5"])
        rest = await processes(stack, broker, prefix, *[["--lease", "1.5"]] * 2)
        sender = layers(broker.address, prefix=prefix)
        messages = [{"type": "t", "n": number} for number in range(COUNT)]
        sending = (sender.group_send_later(GROUP, m, delay=0.3) for m in messages)
        await asyncio.gather(*sending)
        await until(lambda: len(got(broker, prefix)) > 50, 20)
        await asyncio.gather(*map(kill, rest))
        await until(lambda: len(got(broker, prefix)) == COUNT, 20)
        await until(lambda: left(broker, prefix) == 0, 10)
    again = {number: times for number, times in got(broker, prefix).items() if times > 1}
    assert len(again) <= len(rest)
    assert set(again.values()) <= {2}


@pytest.mark.slow
async def test_a_periodic_message_has_one_sender_at_a_time(broker, layers, prefix):
    async with contextlib.AsyncExitStack() as stack:
        first, *_ = await processes(stack, broker, prefix, *[["--lease", "1.5"]] * 3)
        sender = layers(broker.address, prefix=prefix)
        start = time.monotonic()
        for _ in range(3):
            await sender.send_every(0.2, "jobs", {"type": "t", "n": 0}, name="clock")
        await until(lambda: got(broker, prefix)[0] >= 2)
        await kill(first)
        await until(lambda: got(broker, prefix)[0] >= 6)
        assert got(broker, prefix)[0] <= (time.monotonic() - start) / 0.2 + 1
        assert await sender.cancel_every("clock")

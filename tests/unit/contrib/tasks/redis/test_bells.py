"""Idle workers wait at a server, and what goes wrong there only ends the wait."""

import asyncio

import pytest

from channels.contrib.tasks.redis.bells import Bell
from channels.layers.redis.connection.hosts import parse_hosts
from tests.asgi import until
from tests.brokers import running
from tests.ports import free_port

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def bell(broker):
    broker.cli("FLUSHALL")
    ((server,), _) = parse_hosts([broker.url], "asgi")
    bell = Bell(server)
    yield bell
    await bell.aclose()


async def test_it_rings_for_one(bell, broker):
    waiting = asyncio.create_task(bell.wait(["a", "b"], 5))
    await asyncio.sleep(0.02)
    assert not waiting.done()
    broker.cli("LPUSH", "b", 1)
    await until(waiting.done)
    assert not broker.cli("EXISTS", "b")


async def test_the_time_may_be_over(bell):
    waiting = asyncio.create_task(bell.wait(["a"], 0.05))
    await until(waiting.done)
    assert waiting.exception() is None


async def test_what_is_wrong_ends_the_wait(bell, broker):
    broker.cli("SET", "a", "no list")
    waiting = asyncio.create_task(bell.wait(["a"], 5))
    await until(waiting.done)
    broker.cli("DEL", "a")
    broker.cli("LPUSH", "a", 1)
    again = asyncio.create_task(bell.wait(["a"], 5))
    await until(again.done)
    assert not broker.cli("EXISTS", "a")


async def test_a_server_that_is_not_there_ends_the_wait():
    ((server,), _) = parse_hosts([f"redis://127.0.0.1:{free_port()}/0"], "asgi")
    waiting = asyncio.create_task(Bell(server).wait(["a"], 5))
    await until(waiting.done)
    assert waiting.exception() is None

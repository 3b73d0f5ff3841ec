import asyncio
import gc
import time
import weakref

import pytest

from channels._runtime import lag as ticks
from channels.contrib.health import lag
from channels.contrib.health.lag import LoopLag
from tests.asgi import until


@pytest.fixture
async def monitor():
    monitor = LoopLag()
    yield monitor
    await monitor.aclose()


async def test_nothing_is_known_at_first(monitor):
    result = await monitor.ask()
    assert result.ok
    assert result.ms >= 0
    assert result.details == {"max_ms": None, "p99_ms": None}


async def test_a_blocked_loop_shows(monitor):
    await monitor.ask()
    time.sleep(1.0)
    details = await measured(monitor)
    assert 700 < details["max_ms"] < 5000
    # Ticks that the loop missed count as well, so that one long wait is not one of many.
    assert details["p99_ms"] > 400


async def test_a_loop_that_waits_for_others_does_not(monitor):
    await monitor.ask()
    details = await measured(monitor)
    assert details["max_ms"] < 700
    assert details["p99_ms"] <= details["max_ms"]


async def test_nothing_ticks_any_more_when_nobody_has_asked_for_long(monkeypatch):
    """The event loop keeps what it is to call."""
    monkeypatch.setattr(ticks, "INTERVAL", 0.01)
    monitor = LoopLag()
    await monitor.ask()
    gone = weakref.ref(monitor)
    del monitor
    gc.collect()
    assert gone() is not None
    monkeypatch.setattr(lag, "IDLE", 0)
    await until(lambda: gc.collect() >= 0 and gone() is None)


async def test_it_ends_when_nobody_asks_and_starts_when_somebody_does(monitor, monkeypatch):
    monkeypatch.setattr(ticks, "INTERVAL", 0.01)
    await monitor.ask()
    await measured(monitor)
    monkeypatch.setattr(lag, "IDLE", 0)
    async with asyncio.timeout(5):
        while (await monitor.ask()).details["max_ms"] is not None:
            await asyncio.sleep(0.01)
    monkeypatch.setattr(lag, "IDLE", 300)
    assert (await monitor.ask()).details["max_ms"] is None
    assert (await measured(monitor))["max_ms"] is not None


async def test_it_leaves_no_task_behind(monitor):
    await monitor.ask()
    assert asyncio.all_tasks() == {asyncio.current_task()}


async def measured(monitor):
    async with asyncio.timeout(5):
        while (details := (await monitor.ask()).details)["max_ms"] is None:
            await asyncio.sleep(0.01)
    return details


async def test_ending_what_has_not_begun_is_nothing():
    monitor = LoopLag()
    await monitor.aclose()
    assert (await monitor.ask()).ok
    await monitor.aclose()
    await monitor.aclose()

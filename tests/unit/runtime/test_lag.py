"""How late an event loop runs its callbacks is measured, while anybody wants to know."""

import asyncio
import time

import pytest

from channels import signals
from channels._runtime import lag
from tests.asgi import until


@pytest.fixture
def waits(monkeypatch):
    monkeypatch.setattr(lag, "INTERVAL", 0.01)
    waits = []

    def hear(sender, seconds, **arguments):
        waits.append(seconds)

    signals.event_loop_lagged.connect(hear)
    yield waits
    signals.event_loop_lagged.disconnect(hear)


async def test_a_blocked_loop_counts_for_each_measurement_that_it_has_delayed(waits):
    lag.watch()
    await until(lambda: waits)
    waits.clear()
    time.sleep(0.5)
    await until(lambda: waits)
    assert max(waits) > 0.4
    assert sum(wait > 0.2 for wait in waits) > 10
    await lag._watches.aclose()


async def test_measuring_ends_with_the_last_listener(waits):
    lag.watch()
    lag.watch()
    await until(lambda: waits)
    timer = lag._watches.get().timer
    assert timer.start() is False
    receivers, signals.event_loop_lagged.receivers = signals.event_loop_lagged.receivers, []
    try:
        await until(timer.start)
        timer.stop()
        lag.watch()  # nobody listens
        assert timer.start()
    finally:
        signals.event_loop_lagged.receivers = receivers
        timer.stop()
        timer.stop()


async def test_one_late_tick_tells_of_a_minute_at_most(monkeypatch):
    waits = []
    timer = lag.LagTimer(waits.append, lambda: not waits)
    monkeypatch.setattr(lag, "INTERVAL", 0.001)
    monkeypatch.setattr(lag, "WINDOW", 0.05)
    timer.start()
    time.sleep(0.3)
    await until(lambda: waits)
    assert 40 <= len(waits) <= 60
    await asyncio.sleep(0)
    timer.stop()

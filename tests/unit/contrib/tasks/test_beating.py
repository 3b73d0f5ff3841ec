"""Signs of life are given on a thread of their own, again and again."""

import asyncio

from channels.contrib.tasks.beating import Heartbeat
from channels.exceptions import BrokerUnavailable
from tests.asgi import until

from .test_worker import Unreliable


async def test_a_beat_that_fails_is_told_and_tried_again(caplog):
    store = Unreliable()
    store.is_local = False
    store.broken = BrokerUnavailable("gone")
    heartbeat = Heartbeat(store, "w", ["default"], 0.03)
    await until(lambda: store.failures > 2)
    await heartbeat.stop()
    assert "The worker could give no sign of life (BrokerUnavailable: gone)" in caplog.text
    failures = store.failures
    await asyncio.sleep(0.05)
    assert store.failures == failures


async def test_memory_needs_no_beats():
    heartbeat = Heartbeat(store := Unreliable(), "w", ["default"], 0.01)
    await asyncio.sleep(0.05)
    await heartbeat.stop()
    assert store.failures == 0

"""Clients that are held to limits: read more slowly, or closed."""

import asyncio
from types import SimpleNamespace

from channels._runtime.metering import Metering
from channels.security.limits.guard import Excess
from tests.asgi import until

TEXT = {"type": "websocket.receive", "text": "x"}


class Limits:
    """Finds what it is told to find, event by event."""

    def __init__(self, *found):
        self.found = list(found)
        self.counted = []

    async def check(self, size):
        return self.found.pop(0) if self.found else None

    def count(self, excess, action):
        self.counted.append((excess.limit, action))


def metering(guard, hold):
    async def receive():
        return TEXT

    consumer = SimpleNamespace(scope={"type": "websocket", "path": "/"})
    return Metering(receive, guard, consumer, SimpleNamespace(hold=hold), None)


def too_much(seconds):
    return Excess("messages", "connection", seconds, True, "too many messages")


async def test_a_server_that_reads_on_unasked_is_held_while_the_client_waits():
    held = []
    guard = Limits(too_much(0.01), too_much(0.01))
    assert await metering(guard, held.append).receive() == TEXT
    assert held == [True, False, True, False]
    assert guard.counted == [("messages", "waited")] * 2


async def test_it_is_let_go_when_the_wait_is_cancelled_and_the_event_is_not_lost():
    held = []
    guard = Limits(too_much(1000.0))
    metered = metering(guard, held.append)
    reading = asyncio.create_task(metered.receive())
    await until(lambda: held == [True])
    reading.cancel()
    await asyncio.wait((reading,))
    assert held == [True, False]
    assert await metered.receive() == TEXT

"""How late the event loop runs its callbacks, because something blocks it."""

import asyncio
import math
import time
from collections import deque

from ..._runtime.reports import Result

__all__ = ["LoopLag"]

# Seconds between ticks. A callback that blocks the loop for longer than this is always noticed, a
# shorter one sometimes. Four ticks a second cost about 50 microseconds.
INTERVAL = 0.25

# Seconds of the past that a result covers.
WINDOW = 60.0

# Seconds after the last call of ask() until the ticks stop.
IDLE = 300.0


class LoopLag:
    """Measures how late callbacks run on the event loop on which it was made.

    Measuring starts with the first :meth:`ask` and stops some minutes after the last one. It uses a
    timer, not a task.

    A tick that is late by several intervals also counts for the ticks that it has delayed, each
    with the wait it would have had. Otherwise one wait of 10 seconds would count as little as one
    without delay ("coordinated omission", G. Tene, "How NOT to Measure
    Latency", 2013).
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waits: deque[float] = deque(maxlen=round(WINDOW / INTERVAL))
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0
        self._asked = 0.0

    async def ask(self) -> Result:
        """The longest wait of the last minute, and the one that 99 % did not exceed.

        ``max_ms`` and ``p99_ms`` (by nearest rank) are None until the first tick; ``ms`` is the
        length of the current turn of the loop.
        """
        self._asked = self._loop.time()
        if self._timer is None:
            self._waits.clear()
            self._due = self._asked + INTERVAL
            self._timer = self._loop.call_at(self._due, self._tick)
        started = time.perf_counter()
        await asyncio.sleep(0)
        turn = time.perf_counter() - started
        waits = sorted(self._waits)
        rank = math.ceil(0.99 * len(waits)) - 1
        return Result(
            ok=True,
            ms=turn * 1000,
            details={
                "max_ms": round(waits[-1] * 1000, 1) if waits else None,
                "p99_ms": round(waits[rank] * 1000, 1) if waits else None,
            },
        )

    def _tick(self) -> None:
        now = self._loop.time()
        if now - self._asked > IDLE:
            self._timer = None
            return
        self._due = max(self._due, now - WINDOW)
        while self._due <= now:
            self._waits.append(now - self._due)
            self._due += INTERVAL
        self._timer = self._loop.call_at(self._due, self._tick)

    async def aclose(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

"""How late the event loop runs its callbacks, because something blocks it."""

import asyncio
import math
import time
from collections import deque

from ..._runtime.lag import INTERVAL, WINDOW, LagTimer
from ..._runtime.reports import Result

__all__ = ["LoopLag"]

# Seconds after the last call of ask() until the ticks stop.
IDLE = 300.0


class LoopLag:
    """Measures how late callbacks run on the event loop on which it was made.

    Measuring starts with the first :meth:`ask` and stops some minutes after the last one. How it is
    done, :class:`LagTimer` says.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waits: deque[float] = deque(maxlen=round(WINDOW / INTERVAL))
        self._timer = LagTimer(self._waits.append, self._is_wanted)
        self._asked = 0.0

    def _is_wanted(self) -> bool:
        return self._loop.time() - self._asked <= IDLE

    async def ask(self) -> Result:
        """The longest wait of the last minute, and the one that 99 % did not exceed.

        ``max_ms`` and ``p99_ms`` (by nearest rank) are None until the first tick; ``ms`` is the
        length of the current turn of the loop.
        """
        self._asked = self._loop.time()
        if self._timer.start():
            self._waits.clear()
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

    async def aclose(self) -> None:
        """Stop measuring."""
        self._timer.stop()

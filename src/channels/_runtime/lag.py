"""How late the event loop runs its callbacks, because something blocks it."""

import asyncio
from collections.abc import Callable

from .. import signals
from .loops import PerLoop

__all__ = ["INTERVAL", "WINDOW", "LagTimer", "watch"]

# Seconds between ticks. A callback that blocks the loop for longer than this is always noticed, a
# shorter one sometimes. Four ticks a second cost about 50 microseconds.
INTERVAL = 0.25

# Seconds of the past that one late tick tells of at most.
WINDOW = 60.0


class LagTimer:
    """Measures how late callbacks run on the event loop on which it was made.

    It uses a timer, not a task.

    A tick that is late by several intervals also counts for the ticks that it has delayed, each
    with the wait it would have had. Otherwise one wait of 10 seconds would count as little as one
    without delay ("coordinated omission", G. Tene, "How NOT to Measure
    Latency", 2013).

    Args:
        measured: called with each wait, in seconds.
        wanted: whether to go on, asked before each measurement.
    """

    def __init__(self, measured: Callable[[float], object], wanted: Callable[[], bool]) -> None:
        self._loop = asyncio.get_running_loop()
        self._measured = measured
        self._wanted = wanted
        self._timer: asyncio.TimerHandle | None = None
        self._due = 0.0

    def start(self) -> bool:
        """Measure from now on; False if it does already."""
        if self._timer is not None:
            return False
        self._due = self._loop.time() + INTERVAL
        self._timer = self._loop.call_at(self._due, self._tick)
        return True

    def _tick(self) -> None:
        self._timer = None
        if not self._wanted():
            return
        now = self._loop.time()
        self._due = max(self._due, now - WINDOW)
        while self._due <= now:
            self._measured(now - self._due)
            self._due += INTERVAL
        self._timer = self._loop.call_at(self._due, self._tick)

    def stop(self) -> None:
        """Stop measuring."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class _Watch:
    """Tells the listeners how late callbacks run on one event loop, as long as there are any."""

    def __init__(self) -> None:
        self.timer = LagTimer(self._tell, lambda: bool(signals.event_loop_lagged.receivers))

    def _tell(self, seconds: float) -> None:
        signals.emit(signals.event_loop_lagged, LagTimer, seconds=seconds)

    async def aclose(self) -> None:
        """The event loop ends."""
        self.timer.stop()


_watches = PerLoop(_Watch)


def watch() -> None:
    """Measure on the running event loop from now on, if anyone listens."""
    if signals.event_loop_lagged.receivers:
        _watches.get().timer.start()

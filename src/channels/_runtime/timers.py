"""Timers that keep their time while a test has frozen the clock of the event loop.

A frozen ``time.monotonic()`` moves the clock of asyncio's event loops by decades: what was to
happen within a minute happens at once, and what is planned meanwhile would happen decades after
the clock has been released. A :class:`Timer` that rings too early is wound up again, and one that
is wound up on a loop whose clock is wrong is kept by the bridge's loop, whose clock is never wrong.
"""

import asyncio
import contextlib
from collections.abc import Callable
from functools import partial
from types import TracebackType

from .clock import now
from .loops import BridgeClosed, bridge

__all__ = ["Timer", "sleep", "timeout"]

# Seconds that the clock of an event loop may be off. uvloop reads its clock once a turn, so it is
# late by as long as a handler blocks; that costs a longer way and no precision.
_TOLERANCE = 1.0

# Seconds that a timer may ring early: clocks of event loops have a resolution of milliseconds.
_EARLY = 0.005


class Timer:
    """Calls a function on the running event loop after some time.

    Args:
        seconds: how long to wait.
        callback: called on that loop.
        *arguments: what it is called with.
    """

    __slots__ = ("_callback", "_due", "_handle", "_loop")

    def __init__(self, seconds: float, callback: Callable[..., object], *arguments: object) -> None:
        self._loop = asyncio.get_running_loop()
        self._callback: Callable[[], object] | None = (
            partial(callback, *arguments) if arguments else callback
        )
        self._due = now() + seconds
        self._handle: asyncio.TimerHandle | None = None
        self._wind_up(seconds)

    def cancel(self) -> None:
        """Do not call the function any more. To be called on the event loop."""
        self._callback = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def cancelled(self) -> bool:
        """Whether it calls nothing any more: it was cancelled, or has called."""
        return self._callback is None

    def _wind_up(self, seconds: float) -> None:
        if abs(self._loop.time() - now()) < _TOLERANCE:
            self._handle = self._loop.call_later(seconds, self._ring)
            return
        self._handle = None
        with contextlib.suppress(BridgeClosed, RuntimeError):  # the interpreter is exiting
            bridge.loop.call_soon_threadsafe(bridge.loop.call_later, seconds, self._ring_there)

    def _ring_there(self) -> None:
        """On the bridge's loop."""
        with contextlib.suppress(RuntimeError):  # the timer's loop has been closed
            self._loop.call_soon_threadsafe(self._ring)

    def _ring(self) -> None:
        callback, left = self._callback, self._due - now()
        if callback is None:
            return
        if left > _EARLY:
            self._wind_up(left)
            return
        self._callback = self._handle = None
        callback()


async def sleep(seconds: float) -> None:
    """Like ``asyncio.sleep``, for some seconds that really pass."""
    over: asyncio.Future[None] = asyncio.get_running_loop().create_future()

    def wake() -> None:
        if not over.done():
            over.set_result(None)

    timer = Timer(seconds, wake)
    try:
        await over
    finally:
        timer.cancel()


class timeout:  # noqa: N801 - it takes the place of asyncio.timeout
    """Like ``asyncio.timeout``, for some seconds that really pass.

    Args:
        seconds: after which what is awaited within is cancelled, and ``TimeoutError`` raised.
        last_look: seconds that are added when they have passed, so that an event loop that was held
            up takes what has come meanwhile.
    """

    __slots__ = ("_last_look", "_seconds", "_timeout", "_timer")

    def __init__(self, seconds: float, *, last_look: float = 0.0) -> None:
        self._seconds = seconds
        self._last_look = last_look

    async def __aenter__(self) -> None:
        self._timeout = asyncio.timeout(None)
        await self._timeout.__aenter__()
        self._timer = Timer(self._seconds, self._look if self._last_look else self._expire)

    async def __aexit__(
        self,
        exc_type: type[BaseException] | None,
        exc_value: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self._timer.cancel()
        await self._timeout.__aexit__(exc_type, exc_value, traceback)

    def expired(self) -> bool:
        """Whether the seconds have passed, so that the ``TimeoutError`` is of this timeout."""
        return self._timeout.expired()

    def _look(self) -> None:
        self._timer = Timer(self._last_look, self._expire)

    def _expire(self) -> None:
        self._timeout.reschedule(asyncio.get_running_loop().time())

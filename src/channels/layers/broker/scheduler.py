"""Sends what is due, in every process that receives from the layer, on one of its event loops.

Each of these processes looks once a second, and when it knows something to be due. Whoever comes
first claims it. Claims keep processes apart that share the work, and they end, so that what a
process that was killed had claimed is sent by another. A process that stands still after it has
claimed something must not send it when others do: it begins to send within a third of the time
for which the claim holds, and gives up after another third.
"""

import asyncio
import contextlib
import logging
import math
import threading
from collections.abc import Awaitable, Callable, Iterable

from ..._runtime import backstage, clock, lograte, timers
from ..._runtime.loops import bridge, is_passing
from ...exceptions import BrokerError, BrokerUnavailable
from .handover import Loop, hand_over

__all__ = ["POLL", "Scheduler"]

logger = logging.getLogger("channels.layers")

#: Seconds from one look at what others have scheduled to the next.
POLL = 1.0

# Seconds for the scheduler of an event loop to stop.
_STOPPING = 5.0

#: Sends what is due in a partition. Returns in how many seconds something is, or None.
SendDue = Callable[[int], Awaitable[float | None]]


class Scheduler:
    """Looks for what is due, on one event loop of the process at a time.

    Args:
        send_due: called for each partition when something may be due.
        partitions: how many there are.
        waiting: the event loops on which somebody waits for messages, for when this one ends.
    """

    def __init__(
        self, send_due: SendDue, partitions: int, waiting: Callable[[], Iterable[Loop]]
    ) -> None:
        self._send_due = send_due
        self._waiting = waiting
        self._lock = threading.Lock()
        self._loop: Loop | None = None
        self._tasks: list[asyncio.Task[None]] = []
        self._alarms = [_Alarm() for _ in range(partitions)]

    # For any thread

    @property
    def loop(self) -> Loop | None:
        """The event loop that looks, if there is one and it runs."""
        loop, tasks = self._loop, self._tasks
        return loop if tasks and not tasks[0].done() and _runs(loop) else None

    def watch(self) -> None:
        """Look from now on, here if no other event loop of the process does.

        An event loop that exists for a single call leaves it to the bridge.
        """
        if self.loop is None:
            here = asyncio.get_running_loop()
            if is_passing(here):
                bridge.loop.call_soon_threadsafe(self._start)
            else:
                self._start()

    def expect(self, partition: int, seconds: float) -> None:
        """Something that this process has scheduled is due so soon; look then, if anybody does."""
        loop = self.loop
        if loop is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(self._alarms[partition].ring_in, seconds)

    def _start(self) -> None:
        with self._lock:
            if self.loop is None:
                self._loop = asyncio.get_running_loop()
                self._alarms = [_Alarm() for _ in self._alarms]
                self._tasks = [
                    backstage.start(self._look_after(*item)) for item in enumerate(self._alarms)
                ]
                self._tasks[0].add_done_callback(self._ended)

    def _ended(self, task: "asyncio.Task[None]") -> None:
        """The event loop ends: let another one go on."""
        if task in self._tasks:
            hand_over(self._waiting, self._start)

    async def stop(self) -> None:
        """Look no more, until the next :meth:`watch`."""
        with self._lock:
            loop, tasks = self._loop, self._tasks
            self._loop, self._tasks = None, []
        if loop is asyncio.get_running_loop():
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks, timeout=_STOPPING)
        elif loop is not None:
            for task in tasks:
                with contextlib.suppress(RuntimeError):  # it has been closed
                    loop.call_soon_threadsafe(task.cancel)

    # On the event loop that looks

    async def _look_after(self, partition: int, alarm: "_Alarm") -> None:
        while True:
            try:
                due = await self._send_due(partition)
            except BrokerUnavailable:  # the connection tells the log
                due = None
            except Exception as error:  # noqa: BLE001 - one mistake must not end it
                expected = isinstance(error, BrokerError)  # its text says it all
                lograte.log(
                    logger, logging.ERROR, "not sent", "Scheduled messages are not sent: %s",
                    str(error) or repr(error), exc_info=None if expected else error,
                )  # fmt: skip
                due = None
            await alarm.wait(POLL if due is None else min(due, POLL))


class _Alarm:
    """Rings after some seconds, or sooner if it is told to. For one event loop."""

    def __init__(self) -> None:
        self._at = math.inf
        self._timer: timers.Timer | None = None
        self._rung: asyncio.Future[None] | None = None

    def ring_in(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings sooner anyway."""
        at = clock.now() + seconds
        if at < self._at:
            self._at = at
            if self._rung is not None:
                self._wind_up()

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, for ``seconds`` at most."""
        self._rung = asyncio.get_running_loop().create_future()
        try:
            self._at = min(self._at, clock.now() + seconds)
            self._wind_up()
            await self._rung
        finally:
            self._at, self._rung = math.inf, None
            if self._timer is not None:
                self._timer.cancel()

    def _wind_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = timers.Timer(max(self._at - clock.now(), 0.0), self._ring)

    def _ring(self) -> None:
        if self._rung is not None and not self._rung.done():
            self._rung.set_result(None)


def _runs(loop: Loop | None) -> bool:
    return loop is not None and loop.is_running()

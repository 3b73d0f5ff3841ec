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
from typing import TypeAlias

from ..._runtime import backstage, clock, lograte, timers
from ..._runtime.loops import bridge, is_passing
from ...exceptions import BrokerError, BrokerUnavailable
from .handover import Loop, LoopEnded, across, hand_over
from .schedule import Claimed

__all__ = ["POLL", "Claim", "Scheduler", "Send"]

logger = logging.getLogger("channels.layers")

#: Seconds from one look at what others have scheduled to the next.
POLL = 1.0

# Seconds for which an event loop that ends finishes what it is sending.
_FINISHING = 5.0


#: Claims what is due in a partition. Returns in how many seconds more is, if any is left, and that.
Claim: TypeAlias = Callable[[int], Awaitable[tuple[float | None, list[Claimed]]]]

#: Sends what was claimed in a partition, since a moment on the clock that never goes back; if the
#: last argument says so when called, it sends no more, and leaves the rest to others.
Send: TypeAlias = Callable[[int, list[Claimed], float, Callable[[], bool]], Awaitable[None]]


class Scheduler:
    """Looks for what is due, on one event loop of the process at a time.

    Args:
        claim: claims what is due.
        send: sends what was claimed.
        partitions: how many there are.
        waiting: the event loops on which somebody waits for messages, for when this one ends.
    """

    def __init__(
        self, claim: Claim, send: Send, partitions: int, waiting: Callable[[], Iterable[Loop]]
    ) -> None:
        self._claim, self._send = claim, send
        self._partitions = partitions
        self._waiting = waiting
        self._lock = threading.Lock()
        self._watch: _Watch | None = None

    @property
    def loop(self) -> Loop | None:
        """The event loop that looks, if there is one and it runs."""
        watch = self._watch
        return watch.loop if watch is not None and watch.goes_on() else None

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
        watch = self._watch
        if watch is not None and seconds < POLL:
            with contextlib.suppress(RuntimeError):  # the event loop has been closed
                watch.loop.call_soon_threadsafe(watch.alarms[partition].ring_in, seconds)

    def _start(self) -> None:
        with self._lock:
            if self.loop is None:
                self._watch = watch = _Watch(self._claim, self._send, self._partitions)
                watch.tasks[0].add_done_callback(lambda _: self._ended(watch))

    def _ended(self, watch: "_Watch") -> None:
        """The event loop ends: let another one go on."""
        if self._watch is watch:
            hand_over(self._waiting, self._start)

    async def stop(self) -> None:
        """Look no more, until the next :meth:`watch`. What is being sent is finished."""
        with self._lock:
            watch, self._watch = self._watch, None
        if watch is None or not watch.goes_on():
            return
        if watch.loop is asyncio.get_running_loop():
            await watch.end()
        else:
            with contextlib.suppress(LoopEnded):
                await across(watch.loop, watch.end())


class _Watch:
    """Looks for what is due on the running event loop, until that ends."""

    def __init__(self, claim: Claim, send: Send, partitions: int) -> None:
        self.loop = asyncio.get_running_loop()
        self.alarms = [_Alarm() for _ in range(partitions)]
        self._claim, self._send = claim, send
        self._ending = False
        self._sending: set[int] = set()
        self.tasks = [backstage.start(self._look_after(n)) for n in range(partitions)]
        # Is cancelled before the tasks above and the connections, as the event loop ends.
        self._last = backstage.untold(self.loop.create_task(self._stay()))

    def goes_on(self) -> bool:
        """Whether it looks."""
        return self.loop.is_running() and not self.tasks[0].done()

    async def _stay(self) -> None:
        try:
            await self.loop.create_future()
        except asyncio.CancelledError:
            await self._finish()
            raise

    async def end(self) -> None:
        """Look no more. Returns when what is being sent has been."""
        self._last.cancel()
        await self._finish()

    async def _finish(self) -> None:
        self._ending = True
        for number, task in enumerate(self.tasks):
            if number not in self._sending:
                task.cancel()
        _, late = await asyncio.wait(self.tasks, timeout=_FINISHING)
        for task in late:
            task.cancel()

    async def _look_after(self, partition: int) -> None:
        alarm = self.alarms[partition]
        while not self._ending:
            try:
                seconds = await self._look(partition)
            except BrokerUnavailable:  # the connection tells the log
                seconds = None
            except Exception as error:  # noqa: BLE001 - one mistake must not end it
                expected = isinstance(error, BrokerError)  # its text says it all
                lograte.log(
                    logger, logging.ERROR, "not sent", "Scheduled messages are not sent: %s",
                    str(error) or repr(error), exc_info=None if expected else error,
                )  # fmt: skip
                seconds = None
            if not self._ending:
                await alarm.wait(POLL if seconds is None else min(seconds, POLL))

    async def _look(self, partition: int) -> float | None:
        """Send what is due; in how many seconds something is, if that is known."""
        seconds = None
        while not self._ending:
            since = clock.now()
            seconds, claimed = await self._claim(partition)
            if not claimed:
                break
            self._sending.add(partition)
            try:
                await self._send(partition, claimed, since, lambda: self._ending)
            finally:
                self._sending.discard(partition)
        return seconds


class _Alarm:
    """Rings after some seconds, or sooner if it is told to. For one event loop."""

    def __init__(self) -> None:
        self._at = math.inf
        self._rung = asyncio.Event()
        self._cancel: Callable[[], object] = self._rung.clear

    def ring_in(self, seconds: float) -> None:
        """Ring in so many seconds, unless it rings sooner anyway."""
        at = clock.now() + seconds
        if at < self._at:
            self._at = at
            self._cancel()
            self._cancel = timers.Timer(seconds, self._rung.set).cancel

    async def wait(self, seconds: float) -> None:
        """Wait until it rings, for ``seconds`` at most."""
        self.ring_in(seconds)
        try:
            await self._rung.wait()
        finally:
            self._at = math.inf
            self._cancel()
            self._rung.clear()

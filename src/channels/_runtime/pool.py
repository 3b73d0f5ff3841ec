"""Which sync handlers may run in the pool of threads, which have to wait, and what is logged.

The pool is bounded by counting the handlers that run, not the threads: a handler that waits for a
client that does not read steps aside, and another one runs in its place, in an extra thread. The
extra threads are bounded too; beyond that the slowest client is disconnected.
"""

import asyncio
import logging
import threading
from collections import OrderedDict
from dataclasses import dataclass
from typing import Protocol

from .. import signals
from . import clock, timers
from .logtext import describe, printable
from .types import Consumer

__all__ = ["ASIDE_PER_THREAD", "FULL_AFTER", "Busy", "Call", "Pool", "Ticket"]

logger = logging.getLogger("channels.consumer")

# Handlers that may wait for clients, for each one that may run.
ASIDE_PER_THREAD = 2

# Seconds without a free thread after which the pool counts as full.
FULL_AFTER = 5.0

# Seconds between two lines in the log about a pool that stays full, and handlers named in each.
_AGAIN = 60.0
_SHOWN = 5


class Call(Protocol):
    """A handler on its way to a thread."""

    owner: Consumer | None
    started: float | None

    @property
    def name(self) -> str:
        """Of the function, for the log."""


@dataclass(frozen=True, slots=True)
class Busy:
    """A handler that occupies a thread.

    Args:
        consumer: the consumer that the handler belongs to, or None.
        handler: the name of the method.
        seconds: since it began.
    """

    consumer: Consumer | None
    handler: str
    seconds: float

    def __str__(self) -> str:
        place = "" if self.consumer is None else f"{describe(self.consumer)}, "
        return f"{place}{printable(self.handler)} for {self.seconds:.1f} s"


class Ticket:
    """A call that waits for a thread."""

    __slots__ = ("call", "key", "loop", "turn")

    def __init__(self, call: Call, key: int) -> None:
        self.call = call
        self.key = key  # in the queue
        self.loop = asyncio.get_running_loop()
        self.turn: asyncio.Future[bool] = self.loop.create_future()

    def grant(self) -> bool:
        """Let the call go on; False if its event loop has been closed."""
        try:
            self.loop.call_soon_threadsafe(self.settle, True)
        except RuntimeError:  # the loop has been closed
            return False
        return True

    def settle(self, run: bool) -> None:
        if not self.turn.done():
            self.turn.set_result(run)


class Pool:
    """Counts the handlers that occupy threads. For any thread, and for several event loops.

    Args:
        size: handlers that may run at the same time.
    """

    def __init__(self, size: int) -> None:
        self.size = size
        self._lock = threading.Lock()
        self._busy: dict[Call, None] = {}
        self._aside: dict[Call, None] = {}  # those that wait for a client
        # By the identity of the consumer, which has one handler at a time; if a project has called
        # a second one meanwhile, that is in the queue by its own.
        self._queue: OrderedDict[int, Ticket] = OrderedDict()
        self._full_since: float | None = None
        # Of the last report, while the pool has been full since.
        self._told: float | None = None
        #: The event loop that looks again, by a timer; None soon after a thread has become free.
        self.watcher: asyncio.AbstractEventLoop | None = None

    def threads(self) -> int:
        """How many threads may stay."""
        return self.size + len(self._aside)

    # A call's way

    def enter(self, call: Call) -> "Ticket | None":
        """Ask for a thread for ``call``. To be called on the event loop of the call.

        Returns:
            None if the call may run now, and :meth:`leave` must follow; else the ticket to pass
            to :meth:`wait`.
        """
        with self._lock:
            free = len(self._busy) < self.size
            if free:
                self._busy[call] = None
                if len(self._busy) < self.size:
                    return None
            self._watch()
            if free:
                return None
            key = id(call if call.owner is None else call.owner)
            if key in self._queue:
                key = id(call)
            ticket = self._queue[key] = Ticket(call, key)
        return ticket

    async def wait(self, ticket: "Ticket") -> bool:
        """Wait until the call may run in a thread; :meth:`leave` must follow.

        Returns:
            False if the call must not run any more: see :meth:`drop`.
        """
        try:
            return await ticket.turn
        except asyncio.CancelledError:
            with self._lock:
                waiting = self._queue.get(ticket.key) is ticket
                if waiting:
                    del self._queue[ticket.key]
            if not waiting:
                self.leave(ticket.call)
            raise

    def leave(self, call: Call) -> None:
        """``call`` has ended, or will never be made: another one may have its place."""
        with self._lock:
            self._busy.pop(call, None)
            self._fill()

    def drop(self, owner: Consumer) -> bool:
        """Cancel the owner's call if it waits for a thread.

        To be called on the event loop on which the call waits.

        Returns:
            Whether it waited, and is not made.
        """
        with self._lock:
            ticket = self._queue.pop(id(owner), None)
        if ticket is None:
            return False
        ticket.settle(False)
        return True

    def step_aside(self, call: Call) -> bool:
        """The running ``call`` waits for its client: another one may run meanwhile.

        :meth:`come_back` must follow.

        Returns:
            Whether too many calls wait for their clients now.
        """
        with self._lock:
            del self._busy[call]
            self._aside[call] = None
            self._fill()
            return len(self._aside) > self.size * ASIDE_PER_THREAD

    def waiting(self) -> "set[int]":
        """The identities of the consumers that wait for their clients in a thread."""
        with self._lock:
            return {id(call.owner) for call in self._aside}

    def come_back(self, call: Call) -> None:
        """``call`` goes on. More than ``size`` calls may run for a while."""
        with self._lock:
            del self._aside[call]
            self._busy[call] = None
            if self._full_since is None and len(self._busy) >= self.size:
                self._full_since = clock.now()

    def _fill(self) -> None:
        """Let waiting calls run while there are free threads. Call it with the lock held."""
        while len(self._busy) < self.size:
            if not self._queue:
                self._full_since = None
                return
            _, ticket = self._queue.popitem(last=False)
            if ticket.grant():
                self._busy[ticket.call] = None

    # A pool that stays full

    def full_for(self) -> float | None:
        """Seconds for which no thread has been free, once that is long; else None."""
        since = self._full_since
        seconds = 0.0 if since is None else clock.now() - since
        return seconds if seconds >= FULL_AFTER else None

    def load(self) -> tuple[int, int]:
        """How many handlers run, and how many wait for a thread."""
        with self._lock:
            return len(self._busy), len(self._queue)

    def occupants(self) -> list[Busy]:
        """The handlers that run, the oldest first."""
        now = clock.now()
        with self._lock:
            calls = [(call.started or now, call) for call in self._busy]
        calls.sort(key=lambda pair: pair[0])
        return [Busy(call.owner, call.name, now - started) for started, call in calls]

    def _watch(self) -> None:
        """Look again when the pool has been full for long. Call it with the lock held."""
        if self._full_since is None:
            self._full_since = clock.now()
        if self.watcher is None or self.watcher.is_closed():
            self.watcher = asyncio.get_running_loop()
            timers.Timer(FULL_AFTER, self._look)

    def _look(self) -> None:
        self.watcher = None
        now = clock.now()
        with self._lock:
            since, told = self._full_since, self._told
            if since is None:
                self._told = None
                if told is not None:
                    logger.info("There are threads for handlers of sync consumers again")
                return
            self.watcher = asyncio.get_running_loop()
            waiting = len(self._queue)
        left = FULL_AFTER - (now - since)
        timers.Timer(left if left > 0 else FULL_AFTER, self._look)
        if left <= 0 and (told is None or now - told >= _AGAIN):
            self._told = now
            self._tell(now - since, waiting)

    def _tell(self, seconds: float, waiting: int) -> None:
        handlers = self.occupants()
        more = len(handlers) - _SHOWN
        logger.warning(
            "For %.1f s no thread has been free for handlers of sync consumers; %d wait. "
            "CHANNELS_SYNC_THREADS is %d, and these run longest: %s%s",
            seconds,
            waiting,
            self.size,
            "; ".join(map(str, handlers[:_SHOWN])),
            f"; and {more} more" if more > 0 else "",
        )
        signals.emit(
            signals.sync_threads_busy,
            Pool,
            threads=self.size,
            seconds=seconds,
            waiting=waiting,
            handlers=handlers,
        )

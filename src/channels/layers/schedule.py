"""What a layer within one process sends later: a heap, and one timer for the process.

The timer is the bridge's, whose event loop lasts as long as the process. So it does not matter
which thread or event loop has scheduled a message, and whether that has ended since.
"""

import asyncio
import heapq
import itertools
import threading
import uuid
import weakref
from collections.abc import Callable, Coroutine
from dataclasses import dataclass, field
from typing import Any

from .._runtime import clock
from .._runtime.forks import in_child
from .._runtime.loops import bridge
from .._runtime.timers import Timer
from ..exceptions import InvalidScheduleError, ScheduleFull

__all__ = ["RETRY", "Schedule", "Scheduled"]

#: Seconds after which a message is tried again whose channel was full; each time twice as long.
RETRY = 1.0

_HANDLE = "memory."


@dataclass(slots=True, eq=False)
class Scheduled:
    """A message to be sent later.

    Args:
        send: sends it; returns False if that is to be tried again.
        due: when, on the clock that never goes back.
        period: seconds from one time to the next, or 0 if it is sent once.
        key: its handle, or the name of a periodic one.
    """

    send: Callable[[float], Coroutine[Any, Any, bool]]
    due: float
    period: float = 0.0
    key: str = field(default_factory=lambda: f"{_HANDLE}{uuid.uuid4().hex}")
    #: When it was tried first, if it has been tried.
    tried: float | None = None
    #: When to look at it next; None while it is being sent.
    moment: float | None = None

    def next_time(self, now: float) -> float:
        """When a periodic message is due next: at a time of its own, after ``now``."""
        missed = max(int((now - self.due) // self.period), 0)
        return self.due + (missed + 1) * self.period


class Schedule:
    """The messages that one layer object sends later. For any thread.

    Args:
        capacity: how many messages there may be.
    """

    def __init__(self, capacity: int) -> None:
        self._capacity = capacity
        self._numbers = itertools.count()
        self._begin()
        _all.add(self)

    def _begin(self) -> None:
        """Be empty. Again in a forked child: what the parent has scheduled, the parent sends."""
        self._lock = threading.Lock()
        self._entries: dict[str, Scheduled] = {}
        # (when to look at it, number, entry); what does not agree with the entry is passed over.
        self._heap: list[tuple[float, int, Scheduled]] = []
        self._timer: Timer | None = None
        self._sending: set[asyncio.Task[None]] = set()

    def __len__(self) -> int:
        return len(self._entries)

    def add(self, entry: Scheduled) -> str:
        """Send a message when it is due. A periodic one takes the place of the one of its name.

        Returns:
            Its key.

        Raises:
            ScheduleFull: there is no room for it.
        """
        with self._lock:
            former = self._entries.get(entry.key)
            if former is not None:
                self._replace(former, entry)
            elif len(self._entries) < self._capacity:
                self._entries[entry.key] = entry
                self._push(entry, entry.due)
            else:
                raise ScheduleFull(
                    f"{self._capacity} messages wait to be sent later, which is the layer's "
                    "schedule_capacity"
                )
        return entry.key

    def _replace(self, former: Scheduled, entry: Scheduled) -> None:
        """Let a periodic message be what ``entry`` is. The lock is held."""
        changed, former.period = former.period != entry.period, entry.period
        former.send = entry.send
        if changed and former.moment is not None and former.tried is None:
            former.due = min(former.due, entry.due)
            self._push(former, former.due)

    def cancel(self, key: str) -> bool:
        """Do not send a message. Returns whether it had not been sent."""
        with self._lock:
            found = self._entries.pop(key, None) is not None
            if len(self._heap) > 2 * len(self._entries) + 64:
                self._heap = [item for item in self._heap if self._is_valid(item)]
                heapq.heapify(self._heap)
        return found

    @staticmethod
    def require_handle(handle: Any) -> str:
        """The key that a handle is.

        Raises:
            InvalidScheduleError: it is none of a layer in memory.
        """
        if not isinstance(handle, str) or not handle.startswith(_HANDLE):
            raise InvalidScheduleError(
                f"{handle!r} is no handle of send_later() or group_send_later() of the in-memory "
                "layer"
            )
        return handle

    def clear(self) -> None:
        """Send none of them."""
        with self._lock:
            self._entries.clear()
            self._heap.clear()

    # The timer. What follows is called on the bridge's event loop, or with the lock held.

    def _holds(self, entry: Scheduled) -> bool:
        return self._entries.get(entry.key) is entry

    def _is_valid(self, item: tuple[float, int, Scheduled]) -> bool:
        moment, _, entry = item
        return self._holds(entry) and entry.moment == moment

    def _push(self, entry: Scheduled, moment: float) -> None:
        """Look at an entry at some moment, and not before. The lock is held."""
        entry.moment = moment
        item = (moment, next(self._numbers), entry)
        heapq.heappush(self._heap, item)
        if self._heap[0] is item:
            bridge.loop.call_soon_threadsafe(_call, weakref.WeakMethod(self._wind_up))

    def _wind_up(self) -> None:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        with self._lock:
            moment = self._heap[0][0] if self._heap else None
        if moment is not None:
            seconds = max(moment - clock.now(), 0.0)
            self._timer = Timer(seconds, _call, weakref.WeakMethod(self._ring))

    def _ring(self) -> None:
        self._timer = None
        now, due = clock.now(), []
        with self._lock:
            while self._heap and self._heap[0][0] <= now:
                item = heapq.heappop(self._heap)
                if self._is_valid(item):
                    entry = item[2]
                    entry.moment = None
                    due.append(entry)
                    if not entry.period:
                        del self._entries[entry.key]
        if due:
            task = asyncio.ensure_future(self._send(due))
            self._sending.add(task)
            task.add_done_callback(self._sending.discard)
        self._wind_up()

    async def _send(self, due: list[Scheduled]) -> None:
        for entry in due:
            now = clock.now()
            if entry.tried is None:
                entry.tried = now
            done = await entry.send(now - entry.tried)
            with self._lock:
                if not done and (not entry.period or self._holds(entry)):
                    self._entries[entry.key] = entry
                    self._push(entry, now + max(RETRY, now - entry.tried))
                elif entry.period and self._holds(entry):
                    entry.due, entry.tried = entry.next_time(now), None
                    self._push(entry, entry.due)


def _call(method: "weakref.WeakMethod[Callable[[], None]]") -> None:
    """Call a method of an object that may be gone, so that no timer keeps a layer."""
    bound = method()
    if bound is not None:
        bound()


_all: "weakref.WeakSet[Schedule]" = weakref.WeakSet()


def _begin_all() -> None:
    for schedule in list(_all):
        schedule._begin()


in_child(_begin_all)

"""Tasks in the memory of one process, which end with it. For development and for tests."""

import asyncio
import contextlib
import heapq
import itertools
import secrets
import threading
from collections import Counter
from collections.abc import Collection, Sequence

import msgspec

from channels._runtime import timers

from .codec import Codec
from .exceptions import QueueFull
from .options import TaskOptions
from .records import Counts, Outcome, Record, Taken, now

__all__ = ["MemoryStore"]

# Seconds for which a worker waits at most before it looks again.
_LONGEST_WAIT = 5.0


class _Queue:
    """The tasks of one queue, by their IDs."""

    def __init__(self) -> None:
        #: By priority, the highest first, and then in their order; each since when it waits.
        self.ready: list[tuple[int, int, str, int]] = []
        #: By the time at which they are due.
        self.deferred: list[tuple[int, int, str]] = []
        #: And the workers that have them.
        self.running: dict[str, str] = {}
        #: The oldest first.
        self.dead: dict[str, None] = {}
        self.totals: Counter[str] = Counter()

    def __len__(self) -> int:
        return len(self.ready) + len(self.deferred) + len(self.running)


class MemoryStore:
    """A store in memory; see :class:`~.store.Store`. Its workers are in the same process.

    Args:
        options: of the backend.
    """

    is_local = True

    def __init__(self, options: TaskOptions) -> None:
        self.codec = Codec()
        self._options = options
        self._lock = threading.Lock()
        self._records: dict[str, Record] = {}
        self._queues: dict[str, _Queue] = {}
        self._numbers = itertools.count()
        #: When results expire, the next one first.
        self._expiring: list[tuple[int, str]] = []
        self._waiting: set[tuple[asyncio.AbstractEventLoop, asyncio.Event]] = set()

    def new_id(self, queue: str) -> str:
        """An ID for a new task."""
        return secrets.token_hex(16)

    # Enqueueing

    async def enqueue(self, record: Record) -> None:
        """Keep a new task; see :meth:`put`."""
        self.put(record)

    def put(self, record: Record) -> None:
        """Keep a new task.

        Raises:
            QueueFull: the queue holds ``capacity`` tasks.
        """
        with self._lock:
            self._expire()
            queue = self._queue(record.queue)
            if len(queue) >= self._options.capacity:
                raise QueueFull(
                    f"The queue {record.queue!r} holds {self._options.capacity} tasks, which is "
                    "its capacity"
                )
            self._records[record.id] = _copy(record)
            self._append(queue, record, record.run_after)
        self._ring()

    def _queue(self, name: str) -> _Queue:
        if name not in self._queues:
            self._queues[name] = _Queue()
        return self._queues[name]

    def _append(self, queue: _Queue, record: Record, due: int = 0) -> None:
        """Let a task wait for a worker, or first for its time."""
        number = next(self._numbers)
        if due > now():
            heapq.heappush(queue.deferred, (due, number, record.id))
        else:
            heapq.heappush(queue.ready, (-record.priority, number, record.id, now()))

    async def load(self, task_id: str) -> Record | None:
        """A task."""
        return self.find(task_id)

    def find(self, task_id: str) -> Record | None:
        """A task; None if there is none of this ID, or its result has expired."""
        with self._lock:
            self._expire()
            record = self._records.get(task_id)
            return None if record is None else _copy(record)

    def _expire(self) -> None:
        """Forget results whose time is over. Call it with the lock held, as all that follow."""
        current = now()
        while self._expiring and self._expiring[0][0] <= current:
            _, task_id = heapq.heappop(self._expiring)
            self._records.pop(task_id, None)

    # A worker's part

    async def fetch(
        self,
        worker: str,
        queues: Sequence[str],
        count: int,
        running: Collection[str] | None = None,
        *,
        has_suspect: bool = False,
    ) -> list[Taken]:
        """Give tasks to a worker."""
        taken: list[Taken] = []
        with self._lock:
            for name in queues:
                queue = self._queue(name)
                self._move_due(queue)
                while queue.ready and len(taken) < count:
                    _, _, task_id, _ = heapq.heappop(queue.ready)
                    taken.append(Taken(self._begin(queue, task_id, worker)))
        return taken

    def _move_due(self, queue: _Queue) -> None:
        current = now()
        while queue.deferred and queue.deferred[0][0] <= current:
            _, number, task_id = heapq.heappop(queue.deferred)
            priority = self._records[task_id].priority
            heapq.heappush(queue.ready, (-priority, number, task_id, current))

    def _begin(self, queue: _Queue, task_id: str, worker: str) -> Record:
        record = self._records[task_id]
        queue.running[task_id] = worker
        record.status = "RUNNING"
        record.worker_ids.append(worker)
        record.last_attempted_at = now()
        record.started_at = record.started_at or record.last_attempted_at
        return _copy(record)

    async def wait(self, worker: str, queues: Sequence[str]) -> None:
        """Return when there may be something to fetch."""
        waiter = (asyncio.get_running_loop(), asyncio.Event())
        with self._lock:
            self._waiting.add(waiter)
            known = [self._queue(name) for name in queues]
            ready = any(queue.ready for queue in known)
            due = min((queue.deferred[0][0] for queue in known if queue.deferred), default=None)
        try:
            left = _LONGEST_WAIT if due is None else (due - now()) / 1e6
            if not ready and left > 0:
                with contextlib.suppress(TimeoutError):
                    async with timers.timeout(min(left, _LONGEST_WAIT)):
                        await waiter[1].wait()
        finally:
            with self._lock:
                self._waiting.discard(waiter)

    def _ring(self) -> None:
        """Wake the workers that wait."""
        for loop, event in list(self._waiting):
            with contextlib.suppress(RuntimeError):  # the loop has been closed
                loop.call_soon_threadsafe(event.set)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        """Store what became of attempts."""
        with self._lock:
            self._expire()
            settled = [self._settle(worker, outcome) for outcome in outcomes]
        self._ring()
        return settled

    def _settle(self, worker: str, outcome: Outcome) -> bool:
        name, task_id = outcome.taken.record.queue, outcome.taken.record.id
        queue = self._queue(name)
        if queue.running.get(task_id) != worker:
            return False
        del queue.running[task_id]
        record = self._records[task_id]
        record.errors = outcome.errors or record.errors
        if outcome.kind == "done":
            self._finish(queue, record, outcome)
        elif outcome.kind == "failed":
            self._fail(queue, record, outcome)
        else:
            queue.totals["retried"] += 1
            self._put_back(queue, record, outcome.due)
        return True

    def _finish(self, queue: _Queue, record: Record, outcome: Outcome) -> None:
        record.status, record.value = "SUCCESSFUL", outcome.value
        record.finished_at = outcome.at
        queue.totals["succeeded"] += 1
        self._keep_for_a_while(record)

    def _fail(self, queue: _Queue, record: Record, outcome: Outcome) -> None:
        record.status, record.finished_at = "FAILED", outcome.at
        queue.totals["failed"] += 1
        queue.dead[record.id] = None
        while len(queue.dead) > self._options.dead_letters:
            oldest = next(iter(queue.dead))
            del queue.dead[oldest]
            queue.totals["dropped"] += 1
            self._keep_for_a_while(self._records[oldest])

    def _put_back(self, queue: _Queue, record: Record, due: int = 0) -> None:
        record.status = "READY"
        self._append(queue, record, due)

    def _keep_for_a_while(self, record: Record) -> None:
        expiry = now() + int(self._options.result_ttl * 1e6)
        heapq.heappush(self._expiring, (expiry, record.id))

    async def beat(self, worker: str, queues: Sequence[str]) -> None:
        """Nothing to do: no worker dies before the memory does."""

    async def leave(self, worker: str, queues: Sequence[str], begun: Collection[str]) -> int:
        """Give back what a worker was given and has not settled."""
        returned = 0
        with self._lock:
            for name in queues:
                queue = self._queue(name)
                for task_id in [key for key, owner in queue.running.items() if owner == worker]:
                    record = self._records[task_id]
                    if task_id in begun:
                        record.spared += 1
                    else:
                        record.worker_ids.pop()
                    del queue.running[task_id]
                    self._put_back(queue, record)
                    returned += 1
        self._ring()
        return returned

    # Looking at it

    async def counts(self, queue: str) -> Counts:
        """How many tasks there are."""
        with self._lock:
            found, current = self._queue(queue), now()
            return Counts(
                waiting=len(found.ready),
                longest_wait=(current - min((entry[3] for entry in found.ready), default=current))
                / 1e6,
                deferred=len(found.deferred),
                running=len(found.running),
                dead=len(found.dead),
                **found.totals,
            )

    async def dead(self, queue: str, limit: int) -> list[Record]:
        """The dead letters of a queue, the oldest first."""
        with self._lock:
            ids = itertools.islice(self._queue(queue).dead, limit)
            return [_copy(self._records[task_id]) for task_id in ids]

    async def revive(self, queue: str, ids: Sequence[str]) -> int:
        """Put dead letters into the queue again."""
        with self._lock:
            found = self._queue(queue)
            revived = [task_id for task_id in dict.fromkeys(ids) if task_id in found.dead]
            for task_id in revived:
                del found.dead[task_id]
                record = self._records[task_id]
                record.finished_at, record.spared = 0, len(record.worker_ids)
                self._put_back(found, record)
        self._ring()
        return len(revived)

    async def bury(self, queue: str, ids: Sequence[str]) -> int:
        """Delete dead letters."""
        with self._lock:
            found = self._queue(queue)
            buried = [task_id for task_id in dict.fromkeys(ids) if task_id in found.dead]
            for task_id in buried:
                del found.dead[task_id], self._records[task_id]
        return len(buried)

    async def aclose(self) -> None:
        """Nothing belongs to an event loop."""


def _copy(record: Record) -> Record:
    return msgspec.structs.replace(record, worker_ids=list(record.worker_ids))

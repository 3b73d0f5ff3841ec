"""Tasks on the servers of a Redis channel layer; see :class:`~channels.contrib.tasks.store.Store`.

A task is a hash, from when it is enqueued until its result expires. Its place in a queue is an
entry of a stream: one stream for each priority in use, read through a consumer group, so that an
entry is one worker's from when it is handed out until it is settled. A worker has a lease, which
its beats renew; what a worker had whose lease has ended is handed to others.

A queue is in one partition, which is the last byte of the IDs of its tasks. Every operation is one
script, so it is done as a whole or not at all, and those that may come twice are the same when
repeated.
"""

import asyncio
import re
import secrets
from collections.abc import Collection, Coroutine, Iterable, Sequence
from typing import Any, TypeVar

from channels._runtime.loops import PerLoop, bridge, passing_loops
from channels.exceptions import BrokerError
from channels.layers.redis.layer import RedisLayer
from channels.layers.redis.partitions import milliseconds

from ..codec import Codec
from ..exceptions import QueueFull
from ..options import TaskOptions
from ..records import Counts, Outcome, Record, Taken, now
from . import scripts  # noqa: F401 - adds them to those that servers are given
from .bells import Bell
from .keys import bell_key, dead_key, queue_key, root_key, task_key

__all__ = ["RedisStore"]

_T = TypeVar("_T")

# Seconds for which a worker waits at most before it looks again.
_LONGEST_WAIT = 5.0

# IDs and dead letters that are handled in one step.
_BATCH = 500

# In this order scripts tell of a task that is handed out, after its ID.
_HANDED_OUT = ("q", "y", "p", "n", "a", "w", "f", "l", "e", "k", "b", "c")

# And so a result is asked for.
_ALL = (*_HANDED_OUT, "s", "d", "r")


class RedisStore:
    """A store on the servers of a Redis channel layer, under the layer's prefix.

    Args:
        alias: of the backend.
        options: of the backend.
        layer: whose servers, prefix and encryption it uses. Its connections are its own.
    """

    is_local = False

    def __init__(self, alias: str, options: TaskOptions, layer: RedisLayer) -> None:
        self.codec = Codec(layer.serializer.crypter)
        self._options = options
        self._partitions = layer.make_partitions()
        self._roots = [root_key(base, alias) for base in self._partitions.bases]
        self._bells: PerLoop[dict[tuple[str, int], Bell]] = PerLoop(dict)
        # By workers: seconds until the next task is due, or -1.
        self._due: dict[str, float] = {}

    def _partition_of(self, queue: str) -> int:
        return self._partitions.number_of(queue)

    def _run(
        self, partition: int, script: str, *arguments: Any, repeat: bool = True
    ) -> "asyncio.Future[Any]":
        """Run a script with the root of the partition as its only key."""
        connection = self._partitions.senders.get().connections[partition]
        return connection.run(script, [self._roots[partition]], list(arguments), repeat=repeat)

    def new_id(self, queue: str) -> str:
        """An ID for a new task of this queue."""
        return f"{secrets.token_hex(15)}{self._partition_of(queue):02x}"

    # Enqueueing

    async def enqueue(self, record: Record) -> None:
        """Keep a new task."""
        if not await _where_it_lasts(self._enqueue(record)):
            raise QueueFull(
                f"The queue {record.queue!r} holds {self._options.capacity} tasks, which is its "
                "capacity"
            )

    async def _enqueue(self, record: Record) -> int:
        partition = self._partition_of(record.queue)
        root = self._roots[partition]
        kept: int = await self._partitions.senders.get().connections[partition].run(
            "tasks_enqueue",
            [task_key(root, record.id), queue_key(root, record.queue)],
            [
                record.id, record.queue, record.priority, record.payload, record.enqueued_at,
                record.run_after, self._options.capacity, record.carried,
            ],
        )  # fmt: skip
        return kept

    async def load(self, task_id: str) -> Record | None:
        """A task."""
        if not re.fullmatch("[0-9a-f]{32}", task_id):
            return None
        partition = int(task_id[-2:], 16)
        if partition >= len(self._roots):  # it was enqueued when there were more servers
            return None
        return await _where_it_lasts(self._load(partition, task_id))

    async def _load(self, partition: int, task_id: str) -> Record | None:
        connection = self._partitions.senders.get().connections[partition]
        key = task_key(self._roots[partition], task_id)
        fields = await connection.call("HMGET", key, *_ALL)
        return None if fields[2] is None else _read(task_id, fields)

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
        self._due[worker] = -1
        for partition, names in self._by_partition(queues):
            if len(taken) >= count:
                break
            due, answer = await self._run(
                partition, "tasks_fetch", worker, now(), count - len(taken),
                milliseconds(self._options.lease), self._options.max_attempts,
                int(running is not None), int(has_suspect), len(names), *names, *(running or ()),
                repeat=False,
            )  # fmt: skip
            if due >= 0 and not 0 <= self._due[worker] <= due / 1000:
                self._due[worker] = due / 1000
            taken += [_read_taken(item) for item in answer]
            has_suspect = has_suspect or any(task.is_suspect for task in taken)
        return taken

    def _by_partition(self, queues: Iterable[str]) -> list[tuple[int, list[str]]]:
        found: dict[int, list[str]] = {}
        for queue in queues:
            found.setdefault(self._partition_of(queue), []).append(queue)
        return list(found.items())

    async def wait(self, worker: str, queues: Sequence[str]) -> None:
        """Return when there may be something to fetch."""
        due = self._due.get(worker, -1)
        longest = min(_LONGEST_WAIT, self._options.lease / 3)  # to look for workers that are lost
        seconds = longest if due < 0 else min(due, longest)
        if seconds < 0.001:  # which a server takes for no limit
            return
        bells = self._bells.get()
        waits = []
        for partition, names in self._by_partition(queues):
            bell = bells.setdefault((worker, partition), Bell(self._partitions.servers[partition]))
            keys = [bell_key(self._roots[partition], name) for name in names]
            waits.append(bell.wait(keys, seconds))
        if len(waits) == 1:
            await waits[0]
            return
        tasks = [asyncio.ensure_future(wait) for wait in waits]
        try:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.gather(*tasks, return_exceptions=True)

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        """Store what became of attempts."""
        settled = [False] * len(outcomes)
        by_partition: dict[int, list[int]] = {}
        for number, outcome in enumerate(outcomes):
            partition = self._partition_of(outcome.taken.record.queue)
            by_partition.setdefault(partition, []).append(number)
        for partition, numbers in by_partition.items():
            arguments: list[Any] = []
            for number in numbers:
                outcome = outcomes[number]
                record = outcome.taken.record
                arguments += (
                    record.queue, record.id, record.priority, outcome.taken.entry, outcome.kind,
                    outcome.at, outcome.due, outcome.value, outcome.errors,
                )  # fmt: skip
            answer = await self._run(
                partition, "tasks_settle", worker, self._options.dead_letters,
                int(self._options.result_ttl * 1000), *arguments,
            )  # fmt: skip
            for number, counts in zip(numbers, answer, strict=True):
                settled[number] = bool(counts)
        return settled

    async def beat(self, worker: str, queues: Sequence[str]) -> None:
        """Renew a worker's lease."""
        lease = milliseconds(self._options.lease)
        for partition, names in self._by_partition(queues):
            await self._run(partition, "tasks_beat", worker, lease, *names)

    async def leave(self, worker: str, queues: Sequence[str], begun: Collection[str]) -> int:
        """Give back what a worker was given and has not settled."""
        self._due.pop(worker, None)
        returned = 0
        for partition, names in self._by_partition(queues):
            returned += await self._run(
                partition, "tasks_leave", worker, len(names), *names, *begun
            )
        return returned

    # Looking at it

    async def counts(self, queue: str) -> Counts:
        """How many tasks there are."""
        return await _where_it_lasts(self._counts(queue))

    async def _counts(self, queue: str) -> Counts:
        partition = self._partition_of(queue)
        connection = self._partitions.senders.get().connections[partition]
        key = queue_key(self._roots[partition], queue)
        counted = await connection.run("tasks_counts", [key], [])
        waiting, longest, deferred, running, dead, totals = counted
        names = [name.decode() for name in totals[::2]]
        numbers = dict(zip(names, map(int, totals[1::2]), strict=True))
        known = {name: numbers[name] for name in numbers if name in Counts.__struct_fields__}
        return Counts(waiting, longest / 1000, deferred, running, dead, **known)

    async def dead(self, queue: str, limit: int) -> list[Record]:
        """The dead letters of a queue, the oldest first."""
        return await _where_it_lasts(self._dead(queue, limit))

    async def _dead(self, queue: str, limit: int) -> list[Record]:
        partition = self._partition_of(queue)
        connection = self._partitions.senders.get().connections[partition]
        key = dead_key(self._roots[partition], queue)
        ids = await connection.call("ZRANGE", key, 0, limit - 1) if limit > 0 else []
        found: list[Record | None] = []
        for start in range(0, len(ids), _BATCH):
            batch = [each.decode() for each in ids[start : start + _BATCH]]
            found += await asyncio.gather(*(self._load(partition, each) for each in batch))
        return [record for record in found if record is not None]

    async def revive(self, queue: str, ids: Sequence[str]) -> int:
        """Put dead letters into the queue again."""
        return await _where_it_lasts(self._exhume(queue, "revive", ids))

    async def bury(self, queue: str, ids: Sequence[str]) -> int:
        """Delete dead letters."""
        return await _where_it_lasts(self._exhume(queue, "bury", ids))

    async def _exhume(self, queue: str, how: str, ids: Sequence[str]) -> int:
        partition, found = self._partition_of(queue), 0
        for start in range(0, len(ids), _BATCH):
            batch = ids[start : start + _BATCH]
            found += await self._run(partition, "tasks_revive", queue, how, *batch)
        return found

    # The end

    async def aclose(self) -> None:
        """Close the connections of the running event loop."""
        bells = self._bells.pop() or {}
        await asyncio.gather(*(bell.aclose() for bell in bells.values()))
        await self._partitions.senders.aclose()


def _where_it_lasts(coroutine: Coroutine[Any, Any, _T]) -> Coroutine[Any, Any, _T]:
    """What is called on an event loop that is made for this call goes over the bridge."""
    return bridge.cross(coroutine) if asyncio.get_running_loop() in passing_loops else coroutine


def _read(task_id: str, fields: Sequence[bytes | None]) -> Record:
    """A record from its fields, in the order of ``_ALL``.

    Raises:
        BrokerError: they are none of ours.
    """
    try:
        (
            queue, priority, payload, enqueued, after, workers, first, last, errors, lost, spared,
            carried,
        ) = (field or b"" for field in fields[: len(_HANDED_OUT)])  # fmt: skip
        record = Record(
            task_id,
            queue.decode(),
            int(priority),
            payload,
            int(enqueued),
            run_after=int(after or 0),
            worker_ids=workers.decode().split(),
            started_at=int(first or 0),
            last_attempted_at=int(last or 0),
            errors=errors,
            lost=lost.decode().split(),
            spared=int(spared or 0),
            carried=carried,
        )
        if len(fields) > len(_HANDED_OUT):
            status, finished, value = (field or b"" for field in fields[len(_HANDED_OUT) :])
            record.status = status.decode()  # type: ignore[assignment] # one of these
            record.finished_at = int(finished or 0)
            record.value = value
    except ValueError as error:
        raise BrokerError(
            f"The broker has a task {task_id} that cannot be read: {error}"
        ) from error
    return record


def _read_taken(item: Sequence[Any]) -> Taken:
    entry, exhausted, task_id, *fields = item
    record = _read(task_id.decode(), fields)
    record.status = "RUNNING"
    return Taken(record, entry.decode(), bool(exhausted))

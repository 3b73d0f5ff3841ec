"""What stores keep of tasks, and what workers tell them."""

import time
from typing import Literal, TypeAlias

import msgspec

__all__ = ["Counts", "Outcome", "OutcomeKind", "Record", "Status", "Taken", "now"]

#: As ``TaskResultStatus`` has them.
Status: TypeAlias = Literal["READY", "RUNNING", "FAILED", "SUCCESSFUL"]

#: What became of an attempt: it has succeeded; it has failed for good; it has failed, and there is
#: to be another one.
OutcomeKind: TypeAlias = Literal["done", "failed", "retry"]


def now() -> int:
    """Microseconds since the epoch."""
    return time.time_ns() // 1000


class Record(msgspec.Struct):
    """A task, from when it is enqueued until its result has expired.

    Times are microseconds since the epoch, and 0 for none.

    Attributes:
        id: of the task's result.
        queue: its name.
        priority: from -100 to 100.
        payload: what is to be called, as the codec encodes it.
        enqueued_at: when it was enqueued.
        run_after: no attempt begins before that.
        status: how far it has come.
        worker_ids: the workers that have begun with it, one for each attempt.
        started_at: when the first attempt began.
        last_attempted_at: when the last one began.
        finished_at: when it succeeded, or failed for good.
        errors: of attempts, as the codec encodes them.
        value: what it returned, as the codec encodes it.
        lost: those of the workers that gave no sign of life any more while they had it.
        spared: how many of the attempts do not count, because they were no failure of the task, or
            were before it was sent again.
        carried: what :mod:`channels.layers.carriers` gave for it, as the codec encodes it.
    """

    id: str
    queue: str
    priority: int
    payload: bytes
    enqueued_at: int
    run_after: int = 0
    status: Status = "READY"
    worker_ids: list[str] = []
    started_at: int = 0
    last_attempted_at: int = 0
    finished_at: int = 0
    errors: bytes = b""
    value: bytes = b""
    lost: list[str] = []
    spared: int = 0
    carried: bytes = b""

    @property
    def attempts(self) -> int:
        """How many attempts count."""
        return len(self.worker_ids) - self.spared


class Taken(msgspec.Struct):
    """A task that a worker has been given.

    Attributes:
        record: with the attempt that is about to begin.
        entry: names the task in its queue.
        exhausted: its worker gave no sign of life any more, and that was the last attempt it has.
            So none begins, and it is to be failed.
    """

    record: Record
    entry: str = ""
    exhausted: bool = False

    @property
    def is_suspect(self) -> bool:
        """Whether it may be what ends workers: it has been lost with two."""
        return len(self.record.lost) > 1


class Outcome(msgspec.Struct):
    """What became of an attempt.

    Attributes:
        taken: the task.
        kind: see :data:`OutcomeKind`.
        at: when the attempt ended.
        value: for ``"done"``: what was returned.
        errors: of all attempts, if there were any.
        due: for ``"retry"``: when the next one may begin.
    """

    taken: Taken
    kind: OutcomeKind
    at: int
    value: bytes = b""
    errors: bytes = b""
    due: int = 0


class Counts(msgspec.Struct):
    """How many tasks of a queue there are, and what has become of others so far.

    Attributes:
        waiting: for a worker.
        longest_wait: seconds for which the one of these that came first has waited.
        deferred: until their time has come, be it ``run_after`` or the pause before a retry.
        running: given to workers.
        dead: failed, and kept to be looked at and sent again.
        succeeded: finished so.
        failed: finished so.
        retried: attempts that failed and were repeated.
        lost: attempts that ended with their worker.
        dropped: failed tasks for which there was no room among the dead.
    """

    waiting: int = 0
    longest_wait: float = 0.0
    deferred: int = 0
    running: int = 0
    dead: int = 0
    succeeded: int = 0
    failed: int = 0
    retried: int = 0
    lost: int = 0
    dropped: int = 0

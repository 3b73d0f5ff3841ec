"""One attempt at a task: what is called, and what comes of it."""

import contextvars
import inspect
import traceback
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from types import TracebackType
from typing import Any

import channels
from channels import signals
from channels._runtime import clock, database
from channels._runtime.backoff import random_pause
from channels._runtime.carried import carried
from channels.db import close_old_connections
from channels.exceptions import SerializationError

from .codec import Codec
from .compat import TaskContext, TaskError, TaskResultStatus, normalize_json, task_started
from .exceptions import InvalidResult, UnknownTask, WorkerLost
from .options import TaskOptions
from .records import Outcome, Taken, now
from .results import moment, restore, set_fields
from .telling import atell, tell

__all__ = ["Attempt"]

# Characters of a traceback that are kept: the last ones, which say most.
_TRACEBACK = 65_536

_LOST = f"{WorkerLost.__module__}.{WorkerLost.__qualname__}"

# Where the way from the worker to the task leads through.
_HERE = str(Path(channels.__file__).parent)


class Attempt:
    """A task that a worker was given, and is to run once.

    Args:
        backend: whose task it is.
        codec: of its store.
        options: of the backend.
        taken: the task.

    Attributes:
        taken: the task.
        result: as Django knows it; None if the task is not known here.
        error: what went wrong, if anything did.
    """

    def __init__(self, backend: Any, codec: Codec, options: TaskOptions, taken: Taken) -> None:
        self._backend = backend
        self._codec = codec
        self._options = options
        self.taken = taken
        self.result: Any = None
        self.error: BaseException | None = None
        record = taken.record
        try:
            self.result = restore(record, backend.alias, codec)
        except Exception as error:  # noqa: BLE001 - of the project's modules too
            self.error = error
        try:
            self._errors = codec.decode_errors(record.id, record.errors)
        except UnknownTask:
            self._errors = []
        told = sum(path == _LOST for path, _ in self._errors)
        for worker in record.lost[told:]:
            self._note(WorkerLost(f"The worker {worker} gave no sign of life while it ran this"))
        if taken.exhausted:
            self.error = WorkerLost(
                f"The last of {options.max_attempts} attempts ended with its worker"
            )

    @property
    def path(self) -> str:
        """Of the task, for the log."""
        record = self.taken.record
        try:
            return self._codec.decode_call(record.id, record.payload)[0]
        except UnknownTask:
            return "?"

    @property
    def is_async(self) -> bool:
        """Whether to await :meth:`acall`, and not to run :meth:`call` in a thread."""
        return inspect.iscoroutinefunction(self.result.task.func)

    # The call

    def call(self) -> Any:
        """Call the function, in a thread, with Django's care for database connections."""
        return contextvars.Context().run(self._call)

    def _call(self) -> Any:
        close_old_connections()
        carried.set(self._carried())
        try:
            tell(task_started, self._backend, self.result)
            with self._told():
                return self.result.task.func(*self._arguments(), **self.result.kwargs)
        except StopIteration as error:  # which no future can carry
            raise RuntimeError("The task raised StopIteration") from error
        finally:
            close_old_connections()

    async def acall(self) -> Any:
        """Call the coroutine function, on the running event loop, with the same care."""
        database.watching.set(True)
        carried.set(self._carried())
        try:
            await atell(task_started, self._backend, self.result)
            with self._told():
                return await self.result.task.func(*self._arguments(), **self.result.kwargs)
        finally:
            if database.opened:
                await database.release()

    @contextmanager
    def _told(self) -> Iterator[None]:
        """Tell listeners of the attempt, in the context of the task."""
        sender = type(self._backend)
        signals.emit(signals.task_attempt_started, sender, task_result=self.result)
        began, failure = clock.now(), None
        try:
            yield
        except BaseException as error:
            failure = error
            raise
        finally:
            signals.emit(
                signals.task_attempt_finished,
                sender,
                task_result=self.result,
                seconds=clock.now() - began,
                exception=failure,
            )
            del failure  # its traceback holds this frame

    def _carried(self) -> str | None:
        """What has travelled along with the task."""
        record = self.taken.record
        return self._codec.decode_carried(record.id, record.carried)

    def _arguments(self) -> list[Any]:
        if self.result.task.takes_context:
            return [TaskContext(task_result=self.result), *self.result.args]
        return list(self.result.args)

    # What comes of it

    def succeed(self, value: Any) -> Outcome:
        """The function has returned: its outcome, which is a failure if that cannot be kept."""
        record = self.taken.record
        try:
            plain = normalize_json(value)
            data = self._codec.encode_value(record.id, plain)
            if len(data) > self._options.max_bytes:
                raise InvalidResult(
                    f"The task {self.path} returned {len(data)} bytes; max_bytes is "
                    f"{self._options.max_bytes}. Let it store them elsewhere, and return where"
                )
        except InvalidResult as error:
            return self.fail(error)
        except (TypeError, ValueError, RecursionError) as error:
            told = str(error) if isinstance(error, SerializationError) else f"no JSON: {error}"
            failure = InvalidResult(f"The task {self.path} returned what cannot be kept: {told}")
            failure.__cause__ = error
            return self.fail(failure)
        at = now()
        set_fields(
            self.result,
            status=TaskResultStatus.SUCCESSFUL,
            finished_at=moment(at),
            _return_value=plain,
        )
        return Outcome(self.taken, "done", at, value=data, errors=self._encoded_errors())

    def fail(self, error: BaseException) -> Outcome:
        """The attempt has failed: its outcome, which is another attempt if the task has one left.

        What the task returned cannot get better by another attempt.
        """
        self.error = error.with_traceback(_of_the_project(error.__traceback__))
        if not self.taken.exhausted:  # else the loss of the worker is among the errors
            self._note(error)
        at, attempts = now(), self.taken.record.attempts
        lasting = isinstance(error, InvalidResult) or self.taken.exhausted
        if not lasting and attempts < self._options.max_attempts:
            due = at + int(random_pause(attempts, *self._options.backoff) * 1e6)
            return Outcome(self.taken, "retry", at, errors=self._encoded_errors(), due=due)
        if self.result is not None:
            set_fields(self.result, status=TaskResultStatus.FAILED, finished_at=moment(at))
        return Outcome(self.taken, "failed", at, errors=self._encoded_errors())

    def _note(self, error: BaseException) -> None:
        """Add to the errors of the attempts."""
        kind = type(error)
        path = f"{kind.__module__}.{kind.__qualname__}"
        text = "".join(traceback.format_exception(error))[-_TRACEBACK:]
        # As UTF-8: a traceback quotes source, and may quote half a character.
        text = text.encode("utf-8", "backslashreplace").decode("utf-8")
        self._errors.append((path, text))
        if self.result is not None:
            self.result.errors.append(TaskError(exception_class_path=path, traceback=text))

    def _encoded_errors(self) -> bytes:
        if not self._errors:
            return b""
        return self._codec.encode_errors(self.taken.record.id, self._errors)


def _of_the_project(trace: TracebackType | None) -> TracebackType | None:
    """A traceback without what led from the worker to the task."""
    while trace is not None and trace.tb_next is not None:
        if not trace.tb_frame.f_code.co_filename.startswith(_HERE):
            break
        trace = trace.tb_next
    return trace

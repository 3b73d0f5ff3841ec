"""Records as Django's task results, and tasks by their paths."""

from datetime import UTC, datetime, timedelta
from functools import lru_cache
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from .codec import Codec
from .compat import Task, TaskError, TaskResult, TaskResultStatus
from .exceptions import UnknownTask
from .records import Record

__all__ = ["find_task", "microseconds", "moment", "restore", "set_fields"]

_EPOCH = datetime(1970, 1, 1, tzinfo=UTC)

# Tasks and variants of tasks that are remembered.
_REMEMBERED = 1024


def moment(stamp: int) -> datetime | None:
    """Microseconds since the epoch as Django has times; None for 0."""
    if not stamp:
        return None
    if settings.USE_TZ:
        return _EPOCH + timedelta(0, 0, stamp)
    seconds, rest = divmod(stamp, 1_000_000)
    return datetime.fromtimestamp(seconds).replace(microsecond=rest)


def microseconds(time: datetime | None) -> int:
    """What :func:`moment` was given; a time without a zone is local time."""
    if time is None:
        return 0
    whole = time.replace(microsecond=0)
    return int(whole.timestamp()) * 1_000_000 + time.microsecond


def find_task(path: str) -> "Task[..., Any]":
    """The task of this path, as ``module.name``.

    Raises:
        UnknownTask: there is none, or its module cannot be imported.
    """
    try:
        return _import_task(path)
    except UnknownTask:
        raise
    except (Exception, SystemExit) as error:  # what the module raises
        raise UnknownTask(
            f"The task {path} cannot be imported here: {type(error).__name__}: {error}"
        ) from error


@lru_cache(_REMEMBERED)
def _import_task(path: str) -> "Task[..., Any]":
    found = import_string(path)
    if not isinstance(found, Task):
        raise UnknownTask(
            f"{path} is no task but a {type(found).__name__}; decorate the function with @task, "
            "and let the task have the function's name in its module"
        )
    return found


@lru_cache(_REMEMBERED)
def _variant(path: str, alias: str, queue: str, priority: int) -> "Task[..., Any]":
    """A task with what it was enqueued with, but for its time. To make one costs a validation."""
    task = find_task(path)
    if (task.backend, task.queue_name, task.priority, task.run_after) == (
        alias, queue, priority, None,
    ):  # fmt: skip
        return task
    variant: Task[..., Any] = task.using(priority=priority, queue_name=queue, backend=alias)
    return variant


def restore(record: Record, alias: str, codec: Codec) -> "TaskResult[..., Any]":
    """The task result that a record stands for.

    Args:
        record: what is stored.
        alias: of the backend.
        codec: of the store.

    Raises:
        UnknownTask: the task is not known here, or the record cannot be read.
    """
    path, args, kwargs = codec.decode_call(record.id, record.payload)
    task = _variant(path, alias, record.queue, record.priority)
    if record.run_after:
        task = task.using(run_after=moment(record.run_after))
    status = TaskResultStatus(record.status)
    result: TaskResult[..., Any] = TaskResult(
        task=task,
        id=record.id,
        status=status,
        enqueued_at=moment(record.enqueued_at),
        started_at=moment(record.started_at),
        last_attempted_at=moment(record.last_attempted_at),
        finished_at=moment(record.finished_at),
        args=args,
        kwargs=kwargs,
        backend=alias,
        errors=[
            TaskError(exception_class_path=path, traceback=traceback)
            for path, traceback in codec.decode_errors(record.id, record.errors)
        ],
        worker_ids=list(record.worker_ids),
    )
    if status == TaskResultStatus.SUCCESSFUL:
        set_fields(result, _return_value=codec.decode_value(record.id, record.value))
    return result


def set_fields(result: "TaskResult[..., Any]", **values: Any) -> None:
    """Change a task result, which is frozen for everybody but its backend."""
    for name, value in values.items():
        object.__setattr__(result, name, value)

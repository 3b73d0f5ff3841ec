"""The backend of Django's tasks framework whose tasks run on the channel layer's broker."""

from collections.abc import Iterator
from contextlib import contextmanager
from functools import cached_property
from typing import Any, ParamSpec, TypeVar

from django.core.checks import CheckMessage, Error

from channels._runtime.loops import bridge, running_loop
from channels.exceptions import ChannelsError, EventLoopRunning, MessageTooLarge
from channels.layers.carriers import encoded

from . import local
from .compat import (
    BaseTaskBackend,
    Task,
    TaskResult,
    TaskResultDoesNotExist,
    TaskResultStatus,
    task_enqueued,
)
from .exceptions import UnknownTask
from .memory import MemoryStore
from .options import TaskOptions, parse_options
from .records import Record, now
from .results import find_task, microseconds, moment, restore
from .store import Store, store_for
from .telling import atell, tell

__all__ = ["ChannelsBackend"]

_P = ParamSpec("_P")
_R = TypeVar("_R")

# Seconds that a call without an event loop waits. Longer than the broker is tried to be reached, so
# that the error says what is wrong.
_TIMEOUT = 60.0


class ChannelsBackend(BaseTaskBackend):
    """Runs tasks on the broker of a channel layer; see the reference for its options.

    Args:
        alias: in ``TASKS``.
        params: what is there.
    """

    supports_defer = True
    supports_async_task = True
    supports_get_result = True
    supports_priority = True

    def __init__(self, alias: str, params: dict[str, Any]) -> None:
        super().__init__(alias, params)
        self._params = params

    @cached_property
    def config(self) -> TaskOptions:
        """The options, read.

        Raises:
            InvalidTaskOptions: they are wrong.
        """
        return parse_options(self.alias, self._params.get("OPTIONS", {}))

    @property
    def store(self) -> Store:
        """Where the tasks are.

        Raises:
            InvalidChannelLayerError: the layer does not exist, or tasks cannot work on it.
        """
        return store_for(self.alias, self.config)

    # Enqueueing

    def enqueue(self, task: "Task[_P, _R]", args: Any, kwargs: Any) -> "TaskResult[_P, _R]":
        """Enqueue a task, and return when the broker has it.

        Raises:
            InvalidTask: the backend does not take such a task.
            UnknownTask: workers would not find it under its path.
            TypeError, ValueError: an argument is no JSON.
            MessageTooLarge: the arguments take more than ``max_bytes``.
            QueueFull: the queue holds ``capacity`` tasks.
            BrokerError: the broker cannot be reached, or refuses it.
            EventLoopRunning: an event loop runs in this thread: await ``aenqueue()``.
        """
        _refuse_event_loop("enqueue")
        store = self.store
        result, record = self._prepare(store, task, args, kwargs)
        with self._carrying(store, task, record):
            if isinstance(store, MemoryStore):
                store.put(record)
            else:
                bridge.call(store.enqueue(record), _TIMEOUT)
        self._enqueued(store)
        tell(task_enqueued, self, result)
        return result

    async def aenqueue(self, task: "Task[_P, _R]", args: Any, kwargs: Any) -> "TaskResult[_P, _R]":
        """Like :meth:`enqueue`, on an event loop."""
        store = self.store
        result, record = self._prepare(store, task, args, kwargs)
        with self._carrying(store, task, record):
            await store.enqueue(record)
        self._enqueued(store)
        await atell(task_enqueued, self, result)
        return result

    def _prepare(
        self, store: Store, task: "Task[_P, _R]", args: Any, kwargs: Any
    ) -> "tuple[TaskResult[_P, _R], Record]":
        self.validate_task(task)
        path = task.module_path
        if find_task(path).func is not task.func:
            raise UnknownTask(
                f"{path} is another task than the one that is enqueued; workers would run that"
            )
        at = now()
        result: TaskResult[_P, _R] = TaskResult(
            task=task,
            id=store.new_id(task.queue_name),
            status=TaskResultStatus.READY,
            enqueued_at=moment(at),
            started_at=None,
            last_attempted_at=None,
            finished_at=None,
            args=list(args),
            kwargs=dict(kwargs),
            backend=self.alias,
            errors=[],
            worker_ids=[],
        )
        payload = store.codec.encode_call(result.id, path, result.args, result.kwargs)
        if len(payload) > self.config.max_bytes:
            raise MessageTooLarge(
                f"The arguments of {path} take {len(payload)} bytes; max_bytes is "
                f"{self.config.max_bytes}. Store them elsewhere, and pass where"
            )
        record = Record(
            result.id, task.queue_name, int(task.priority), payload, at,
            run_after=microseconds(task.run_after),
        )  # fmt: skip
        return result, record

    @contextmanager
    def _carrying(self, store: Store, task: "Task[_P, _R]", record: Record) -> Iterator[None]:
        """While the broker is given a task: add what is to be carried along."""
        about = {"type": task.module_path, "queue": task.queue_name, "id": record.id}
        with encoded(self, "enqueue", task.module_path, about) as text:
            record.carried = store.codec.encode_carried(record.id, text)
            yield

    def _enqueued(self, store: Store) -> None:
        """Let tasks in memory have a worker, which is in this process."""
        if store.is_local and self.config.autostart:
            local.ensure_worker(self, store)

    # Results

    def get_result(self, result_id: str) -> "TaskResult[..., Any]":
        """The result of this ID.

        Raises:
            TaskResultDoesNotExist: there is none, or it has expired.
            UnknownTask: this process does not know the task.
            BrokerError: the broker cannot be reached.
            EventLoopRunning: an event loop runs in this thread: await ``aget_result()``.
        """
        _refuse_event_loop("get_result")
        store = self.store
        if isinstance(store, MemoryStore):
            return self._restore(store, result_id, store.find(str(result_id)))
        return self._restore(store, result_id, bridge.call(store.load(str(result_id)), _TIMEOUT))

    async def aget_result(self, result_id: str) -> "TaskResult[..., Any]":
        """Like :meth:`get_result`, on an event loop."""
        store = self.store
        return self._restore(store, result_id, await store.load(str(result_id)))

    def _restore(
        self, store: Store, result_id: str, record: Record | None
    ) -> "TaskResult[..., Any]":
        if record is None:
            raise TaskResultDoesNotExist(str(result_id))
        return restore(record, self.alias, store.codec)

    # Settings

    def check(self, **kwargs: Any) -> list[CheckMessage]:
        """What is wrong with the settings."""
        try:
            store_for(self.alias, self.config)
        except (ChannelsError, ImportError, TypeError, ValueError) as error:
            hint = "See the reference of channels.contrib.tasks."
            return [Error(str(error), hint=hint, id="channels.tasks.E001")]
        return []


def _refuse_event_loop(method: str) -> None:
    if running_loop() is not None:
        raise EventLoopRunning(
            f"{method}() would hold up the event loop that runs in this thread. "
            f"Write instead: await ...a{method}(...)"
        )

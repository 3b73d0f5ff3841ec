"""Tasks that serve others on an event loop, and therefore end after them.

``asyncio.run`` and test runners end a loop by cancelling all its tasks at once, and wait for them.
What a consumer does in ``disconnect()`` then, such as a last message to a group, needs the
connections of its channel layer. So their tasks are not among those that are cancelled; one task
that is, waits for the others, and ends them.

If a loop is closed without that, its tasks go without a warning: no code could have ended them.
"""

import asyncio
from asyncio import _unregister_task  # documented in "Extending asyncio"
from collections.abc import Coroutine
from typing import Any, TypeVar

from .per_loop import PerLoop

__all__ = ["ignore_failure", "start", "untold"]

_T = TypeVar("_T")

# Seconds to wait for the other tasks. Consumers have as long as servers give them.
_OTHERS = 10.0

# Seconds that these tasks may take to end.
_OWN = 5.0

# How often a coroutine may await something as it ends.
_AWAITS = 20


def start(coroutine: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
    """A new task of the running event loop, which ends when all others have been cancelled."""
    return _stages.get().start(coroutine)


def untold(task: "asyncio.Task[_T]") -> "asyncio.Task[_T]":
    """Keep asyncio from complaining when a closed loop leaves ``task`` behind. Returns it."""
    task._log_destroy_pending = False  # type: ignore[attr-defined]
    return task


def ignore_failure(future: "asyncio.Future[Any]") -> None:
    """Ignore that a call has failed, because an expiry or a lease has the same effect later.

    It is a callback for when ``future`` is done. Without it, asyncio would log the exception.
    """
    if not future.cancelled():
        future.exception()


class _Stage:
    """The tasks of one event loop."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._tasks: set[asyncio.Task[Any]] = set()
        self._last: asyncio.Task[None] | None = None
        self._empty: asyncio.Future[None] | None = None

    def start(self, coroutine: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        task = untold(self._loop.create_task(coroutine))
        _unregister_task(task)
        self._tasks.add(task)
        task.add_done_callback(self._ended)
        if self._last is None or self._empty is None or self._empty.done():
            self._empty = self._loop.create_future()
            self._last = untold(self._loop.create_task(self._stay(self._empty)))
        return task

    def _ended(self, task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        if not self._tasks and self._empty is not None and not self._empty.done():
            self._empty.set_result(None)

    async def _stay(self, empty: "asyncio.Future[None]") -> None:
        """Wait until the last of these tasks has ended, and end them when cancelled."""
        try:
            await empty
        except asyncio.CancelledError:
            await self._end()
            raise

    async def _end(self) -> None:
        """Wait for the others that have been cancelled, and end these tasks."""
        try:
            others = {task for task in asyncio.all_tasks() if task.cancelling()}
            others.discard(self._last)
            if others:
                await asyncio.wait(others, timeout=_OTHERS)
        finally:
            tasks = set(self._tasks)
            for task in tasks:
                task.cancel()
            if tasks:
                await asyncio.wait(tasks, timeout=_OWN)
            # What a cancelled task has raised refers to the frames of the code that ran the loop.
            self._last = self._empty = None

    def abandon(self) -> None:
        """The event loop has been closed, or will never run again."""
        tasks, self._tasks = self._tasks, set()
        if self._last is not None:
            tasks.add(self._last)
        for task in tasks:
            _close(task.get_coro())


def _close(coroutine: Any) -> None:
    """End a coroutine that no event loop runs any more.

    Python would do it some time, perhaps as it exits, and complain of each that has to await
    something as it ends.
    """
    for _ in range(_AWAITS):
        try:
            coroutine.close()
        except BaseException:  # noqa: BLE001, S112 - there is no event loop any more for what it does
            continue
        return


_stages: PerLoop[_Stage] = PerLoop(_Stage)

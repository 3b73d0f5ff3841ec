"""Work that a consumer has started beside its handlers, and that ends with its connection.

Asynchronous consumers run it in tasks, synchronous ones in threads, each of which a task waits for
(see background_threads.py). What fails ends the connection as a handler that fails does.
"""

import asyncio
import inspect
import logging
from collections.abc import Awaitable
from functools import partial
from typing import Any, TypeVar

from ..exceptions import BackgroundTaskError, StopConsumer, TooManyBackgroundTasks
from . import clock, timers
from .backstage import untold
from .exits import contained, current_task, is_crash
from .faults import log_about, tell_late_crash
from .intake import Intake
from .kinds import refuse_background
from .lifecycle import REFUSED, Lifecycle
from .logtext import describe, printable
from .loops import running_loop
from .types import Consumer, Scope

__all__ = ["Background", "BackgroundTasks", "name_of"]

_R = TypeVar("_R")

# What has outlived its connection. Event loops keep no tasks alive.
_left: set["asyncio.Task[Any]"] = set()


class Background:
    """What one connection runs beside its handlers. Subclasses start it, and tell it to end.

    Args:
        consumer: the consumer.
        scope: the scope as the server made it, whatever the consumer has in its place.
        life: how far the connection has come.
        intake: what the connection waits for.
        over: whether nothing can be started any more.
    """

    __slots__ = (
        "_consumer",
        "_failure",
        "_intake",
        "_life",
        "_loop",
        "_over_since",
        "_scope",
        "_tasks",
    )

    def __init__(
        self,
        consumer: Consumer,
        scope: Scope,
        life: Lifecycle,
        intake: Intake,
        *,
        over: bool,
    ) -> None:
        self._consumer = consumer
        self._scope = scope
        self._life = life
        self._intake = intake
        self._loop = intake.loop
        self._tasks: set[asyncio.Task[Any]] = set()
        # When everything was told to end; None before that.
        self._over_since: float | None = clock.now() if over else None
        # What a task has raised, for which the connection is to end.
        self._failure: BaseException | None = None

    def _check(self, count: int) -> None:
        """Refuse one more than ``count``, or one that nothing would end.

        Raises:
            BackgroundTaskError: the connection has ended.
            TooManyBackgroundTasks: as many are running as may be.
        """
        if self._over_since is not None:
            raise BackgroundTaskError(
                f"{describe(self._consumer)} starts a background task, but the connection has "
                "ended, and nothing would end the task"
            )
        limit = self._consumer.max_background_tasks
        if count >= limit:
            raise TooManyBackgroundTasks(
                f"{describe(self._consumer)} runs {count} background tasks already, and its "
                f"max_background_tasks is {limit}"
            )

    def _create(self, work: Awaitable[_R], name: str) -> "asyncio.Task[_R]":
        """A task that awaits ``work``, and reports what that raises."""
        task = untold(self._loop.create_task(self._run(work), name=name))
        self._tasks.add(task)
        task.add_done_callback(partial(self._done, work))
        return task

    async def _run(self, work: Awaitable[_R]) -> _R:
        try:
            return await work
        except BaseException as error:
            if not is_crash(error, current_task()):
                raise
            self._failed(error)
            if isinstance(error, Exception):
                raise
            # SystemExit would leave the event loop.
            raise contained(error, f"A background task of {describe(self._consumer)}") from error

    def _done(self, work: Awaitable[Any], task: "asyncio.Task[Any]") -> None:
        self._tasks.discard(task)
        _left.discard(task)
        if task.cancelled():
            if inspect.iscoroutine(work):
                work.close()  # it may have been cancelled before it began
        else:
            task.exception()  # has been reported

    def _failed(self, error: BaseException) -> None:
        if self._failure is None and self._over_since is None and self._life.phase < REFUSED:
            self._failure = error
            self._life.task_failed()
            self._intake.wake()
        else:
            self._tell_late(error)

    def _tell_late(self, error: BaseException) -> None:
        if not isinstance(error, StopConsumer):
            tell_late_crash(self._consumer, self._scope, error)

    def take_failure(self) -> BaseException | None:
        """What a task has raised, for which the connection is to end; once."""
        failure, self._failure = self._failure, None
        return failure

    def told(self, error: BaseException) -> None:
        """``error`` has been reported: a handler had awaited the task that raised it."""
        if self._failure is error:
            self._failure = None

    # The end

    async def end(self) -> None:
        """Tell everything to end, and wait until it has, for ``background_grace`` seconds at most.

        It may be called again if it was cancelled, and then goes on with waiting.
        """
        begins = self._over_since is None
        if self._over_since is None:
            self._over_since = clock.now()
            failure = self.take_failure()
            if failure is not None:  # the client has left before the connection could end for it
                self._tell_late(failure)
        tasks = self._tasks - {current_task()}
        if begins:
            self._stop(tasks)
        if tasks:
            left = self._over_since + self._consumer.background_grace - clock.now()
            try:
                async with timers.timeout(max(left, 0.0)):
                    await asyncio.wait(tasks)
            except TimeoutError:
                self.leave()

    def _stop(self, tasks: "set[asyncio.Task[Any]]") -> None:
        """Tell ``tasks`` to end."""
        for task in tasks:
            task.cancel()

    def leave(self) -> None:
        """Leave alone what is still running, and say so."""
        seconds = clock.now() - (self._over_since or 0.0)
        for task in self._tasks:
            _left.add(task)
            name = printable(task.get_name())
            log_about(
                self._consumer,
                logging.WARNING,
                f"late {name}",
                "%s: the background task %s was still running %.3g s after it had been told to "
                "end, and is left alone (a higher background_grace waits longer)",
                name,
                seconds,
            )
        self._tasks.clear()


class BackgroundTasks(Background):
    """What an asynchronous consumer runs beside its handlers."""

    __slots__ = ()

    def start(self, target: Any, args: Any, kwargs: Any) -> "asyncio.Task[Any]":
        """Call ``target``, and await the outcome in a task. On the event loop.

        Raises:
            BackgroundTaskError: the connection has ended, or this is another thread.
            TooManyBackgroundTasks: as many are running as may be.
            InvalidMethodError: ``target`` is no coroutine function.
        """
        if running_loop() is not self._loop:
            raise BackgroundTaskError(
                f"{describe(self._consumer)} starts a background task in another thread than that "
                "of its event loop; in synchronous code write: "
                "async_to_sync(method)(), where the method is a coroutine that starts it"
            )
        self._check(len(self._tasks))
        if not callable(target):
            refuse_background(self._consumer, target, target)
        work: Any = target(*args, **kwargs)
        if not inspect.isawaitable(work):
            refuse_background(self._consumer, target, work)
        return self._create(work, name_of(target))


def name_of(target: Any) -> str:
    """The name of a function, for the log."""
    function = target.func if isinstance(target, partial) else target
    return getattr(function, "__name__", None) or type(function).__name__

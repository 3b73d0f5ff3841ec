"""Work that a synchronous consumer has started beside its handlers, in threads of its own.

The threads are none of the pool's, where loops that go on for as long as their connections would
leave nothing for the handlers of others. A thread cannot be stopped: it is told to end by an event,
which it has to look at. One that does not is left alone; it keeps no process from ending.
"""

import asyncio
import inspect
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import CancelledError, Future, ThreadPoolExecutor
from contextvars import copy_context
from functools import cache, partial
from typing import Any, cast

from asgiref.sync import AsyncToSync, SyncToAsync, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from ..exceptions import BackgroundTaskError, TooManyBackgroundTasks
from . import clock, threads, timers
from .background import Background, name_of
from .exits import contained, current_task
from .forks import in_child
from .kinds import refuse_background
from .logtext import describe
from .workers import Workers

__all__ = ["DEFAULT_THREADS", "BackgroundThreads", "thread_limit"]

# Enough for some loops of every connection of a small site. Each takes some 100 kB, and may hold a
# database connection. Django's setting CHANNELS_BACKGROUND_THREADS overrides it.
DEFAULT_THREADS = 200

# Seconds between looks at a thread whose awaiter was cancelled, which is rare.
_POLL = 0.01


def thread_limit() -> int:
    """How many threads the setting ``CHANNELS_BACKGROUND_THREADS`` allows.

    Raises:
        ImproperlyConfigured: it is no such number.
    """
    count = getattr(settings, "CHANNELS_BACKGROUND_THREADS", DEFAULT_THREADS)
    if not isinstance(count, int) or isinstance(count, bool) or count < 0:
        raise ImproperlyConfigured(
            f"CHANNELS_BACKGROUND_THREADS must be a whole number from 0, not {count!r}."
        )
    return count


@cache
def _workers() -> Workers:
    return Workers(lambda: 0, lambda: None, name="channels-background", exit_grace=0.0)


@cache
def _run_apart() -> Callable[[threads.ThreadCall], Awaitable[Any]]:
    workers = cast("ThreadPoolExecutor", _workers())
    return sync_to_async(threads.make, thread_sensitive=False, executor=workers)


def _renew() -> None:
    _workers.cache_clear()
    _run_apart.cache_clear()


# Threads do not survive a fork; the child makes its own when it needs one.
in_child(_renew)


class BackgroundThreads(Background):
    """What a synchronous consumer runs beside its handlers. To be started from any thread."""

    __slots__ = ("_count", "_lock", "stopping")

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        super().__init__(*args, **kwargs)
        self._lock = threading.Lock()
        self._count = 0
        #: Set when the connection has ended.
        self.stopping = threading.Event()
        if self._over_since is not None:
            self.stopping.set()

    def start(self, target: Any, args: Any, kwargs: Any) -> "Future[Any]":
        """Call ``target`` in a thread.

        Raises:
            BackgroundTaskError: the connection has ended.
            TooManyBackgroundTasks: as many are running as may be.
            InvalidMethodError: ``target`` is no plain function.
        """
        if not callable(target) or inspect.iscoroutinefunction(target):
            refuse_background(self._consumer, target, target)
        with self._lock:
            self._check(self._count)
            limit = thread_limit()
            if _workers().under_way >= limit:
                raise TooManyBackgroundTasks(
                    f"{describe(self._consumer)} starts a background task, but this process runs "
                    f"{limit} in threads already, as CHANNELS_BACKGROUND_THREADS says"
                )
            self._count += 1
        outcome: Future[Any] = Future()
        outcome.set_running_or_notify_cancel()  # so that nothing can cancel it
        call = threads.ThreadCall(partial(target, *args, **kwargs), ())
        begin = partial(self._begin, call, target, outcome)
        try:
            self._loop.call_soon_threadsafe(begin, context=copy_context())
        except RuntimeError:  # the loop has been closed
            self._finished()
            raise
        return outcome

    def _begin(self, call: threads.ThreadCall, target: Any, outcome: "Future[Any]") -> None:
        # The context is the handler's, whose thread takes nothing for others any more.
        AsyncToSync.executors.current = None
        SyncToAsync.deadlock_context.set(False)
        try:
            self._check(0)
        except BackgroundTaskError as error:  # the connection has ended at this moment
            self._finished()
            outcome.set_exception(error)
            return
        task = self._create(self._make(call, target), name_of(target))
        task.add_done_callback(partial(self._settle, outcome))

    async def _make(self, call: threads.ThreadCall, target: Any) -> Any:
        """Make a call in a thread, and wait for it."""
        try:
            value = await _run_apart()(call)
        except asyncio.CancelledError:
            await self._outlast(call)
            raise
        except KeyboardInterrupt as error:  # Ctrl-C comes to the main thread only
            raise contained(error, name_of(target)) from error
        if inspect.iscoroutine(value):
            refuse_background(self._consumer, target, value)
        return value

    async def _outlast(self, call: threads.ThreadCall) -> None:
        """The event loop ends, perhaps before the connection: wait for the thread all the same."""
        self.stopping.set()
        if call.call_off():
            return  # it has not begun, and never will
        deadline = clock.now() + self._consumer.background_grace
        while not call.done and current_task() in self._tasks and clock.now() < deadline:
            await timers.sleep(_POLL)

    def _settle(self, outcome: "Future[Any]", task: "asyncio.Task[Any]") -> None:
        self._finished()
        if task.cancelled():
            outcome.set_exception(CancelledError())
        elif (error := task.exception()) is not None:
            outcome.set_exception(error)
        else:
            outcome.set_result(task.result())

    def _finished(self) -> None:
        with self._lock:
            self._count -= 1

    def _stop(self, tasks: "set[asyncio.Task[Any]]") -> None:
        """Tell the threads to end."""
        self.stopping.set()

"""Where sync handlers run.

Behind a server they run on a bounded pool of threads shared by the process, so that a handler
that blocks delays nobody else's. In a test or a worker they run in Django's thread-sensitive
thread, which inside ``TestCase`` is the one that holds the test's transaction. Either way one
handler runs in one thread from start to end, and what it calls through ``async_to_sync`` comes
back to that same thread for its own sync parts, as under Django's ASGI handler.
"""

import asyncio
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any, cast

from asgiref.sync import AsyncToSync, sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import abandoned, clock, database, timers
from .forks import in_child
from .pool import Pool
from .types import Consumer
from .workers import Workers

__all__ = [
    "DEFAULT_THREADS",
    "ThreadCall",
    "current_call",
    "drop",
    "full_for",
    "make",
    "pool",
    "renew",
    "run",
    "thread_count",
]

# As many as a ThreadPoolExecutor has at most by default (Python's documentation). Threads start
# when they are needed. Django's setting CHANNELS_SYNC_THREADS overrides it.
DEFAULT_THREADS = 32

# Seconds between looks at a thread whose awaiter was cancelled, which is rare.
_POLL = 0.01

_here = threading.local()

abandoned.install()


class ThreadCall:
    """One function to be called in a thread, with Django's care for database connections."""

    __slots__ = ("_arguments", "_function", "_pool", "_start", "done", "owner", "started")

    def __init__(
        self,
        function: Callable[..., Any],
        arguments: tuple[Any, ...],
        owner: Consumer | None = None,
        pool: Pool | None = None,
    ) -> None:
        self._function = function
        self._arguments = arguments
        self._pool = pool
        self._start = threading.Lock()  # taken once: by the thread, or by call_off()
        self.done = False
        #: The consumer that the handler belongs to.
        self.owner = owner
        #: When the thread began with it.
        self.started: float | None = None

    @property
    def name(self) -> str:
        """Of the function, for the log."""
        return getattr(self._function, "__name__", None) or repr(self._function)

    def call_off(self) -> bool:
        """Keep the thread from calling the function; False if it is too late for that."""
        if not self._start.acquire(blocking=False):
            return False
        self.leave()
        return True

    def __call__(self) -> Any:
        if not self._start.acquire(blocking=False):
            return None
        self.started = clock.now()
        outer, _here.call = current_call(), self if self._pool is not None else None
        # The queries of sync code are looked after here, in their own thread.
        database.watching.set(False)
        try:
            database.close_old_connections()
            try:
                return self._function(*self._arguments)
            except StopIteration as error:
                # Before Python 3.12 no future can carry it: what awaits the future would hang.
                raise RuntimeError("A sync handler raised StopIteration") from error
            finally:
                database.close_old_connections()
        finally:
            _here.call, _here.ended = outer, self
            self.done = True

    def leave(self) -> None:
        """The call has ended, or will never be made, so another one may have its thread."""
        if self._pool is not None:
            self._pool.leave(self)


def _leave() -> None:
    """The calling thread can be given something else to do."""
    call: ThreadCall | None = getattr(_here, "ended", None)
    if call is not None:
        _here.ended = None
        call.leave()


def current_call() -> "ThreadCall | None":
    """The call of the pool that the calling thread is making, if it is making one."""
    call: ThreadCall | None = getattr(_here, "call", None)
    return call


def make(call: ThreadCall) -> Any:
    """Make ``call``, in this thread."""
    return call()


_run_in_sensitive_thread = sync_to_async(make, thread_sensitive=True)


def thread_count() -> int:
    """How many threads the setting ``CHANNELS_SYNC_THREADS`` allows.

    Raises:
        ImproperlyConfigured: it is no such number.
    """
    count = getattr(settings, "CHANNELS_SYNC_THREADS", DEFAULT_THREADS)
    if not isinstance(count, int) or isinstance(count, bool) or count < 1:
        raise ImproperlyConfigured(
            f"CHANNELS_SYNC_THREADS must be a whole number from 1, not {count!r}."
        )
    return count


@cache
def pool() -> Pool:
    """The pool that says which handlers may use the process's threads."""
    return Pool(thread_count())


@cache
def _run_in_pool() -> Callable[[ThreadCall], Awaitable[Any]]:
    workers = cast("ThreadPoolExecutor", Workers(pool().threads, _leave))
    return sync_to_async(make, thread_sensitive=False, executor=workers)


def renew() -> None:
    """Make the pool anew when it is next needed. What the present one runs goes on in it."""
    pool.cache_clear()
    _run_in_pool.cache_clear()


# Threads do not survive a fork; the child makes its own pool when it needs one.
in_child(renew)


def drop(owner: Consumer) -> bool:
    """Do not call the handler of ``owner`` that waits for a thread of the pool, if one does."""
    return pool().drop(owner)


def full_for() -> float | None:
    """Seconds for which no thread of the pool has been free, once that is long; else None."""
    return pool().full_for()


async def run(
    function: Callable[..., Any], *arguments: Any, pooled: bool, owner: Consumer | None = None
) -> Any:
    """Call a sync function in a thread and wait for it, also when cancelled meanwhile.

    A thread cannot be stopped. Were the wait for it given up, the connection's next handler would
    run beside it. A function that has not been started when the wait is cancelled never is.

    Args:
        function: what to call.
        *arguments: what to call it with.
        pooled: on the pool of threads, instead of in the thread-sensitive thread.
        owner: the consumer that the handler belongs to, for :func:`drop` and for the log.

    Returns:
        What the function returned; None if it was dropped.
    """
    if pooled:
        here = pool()
        call = ThreadCall(function, arguments, owner, here)
        ticket = here.enter(call)
        if ticket is not None and not await here.wait(ticket):
            return None
        runner = _run_in_pool()
    else:
        call, runner = ThreadCall(function, arguments, owner), _run_in_sensitive_thread
    outer = getattr(AsyncToSync.executors, "current", None)
    try:
        return await runner(call)
    except asyncio.CancelledError:
        if not call.call_off():
            while not call.done:
                with contextlib.suppress(asyncio.CancelledError):  # being raised already
                    await timers.sleep(_POLL)
        # What asgiref took over from the thread's context may be what waited there, and waits
        # no longer.
        AsyncToSync.executors.current = outer
        raise
    except BaseException:
        call.call_off()  # if no thread could be started
        raise

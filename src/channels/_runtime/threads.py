"""Where sync handlers run.

Behind a server they run on a bounded pool of threads shared by the process, so that a handler
that blocks delays nobody else's. In a test or a worker they run in Django's thread-sensitive
thread, which inside ``TestCase`` is the one that holds the test's transaction. Either way one
handler runs in one thread from start to end, and what it calls through ``async_to_sync`` comes
back to that same thread for its own sync parts, as under Django's ASGI handler.
"""

import asyncio
import concurrent.futures
import contextlib
import threading
from collections.abc import Awaitable, Callable
from concurrent.futures import ThreadPoolExecutor
from functools import cache
from typing import Any

from asgiref.sync import sync_to_async
from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from . import database
from .forks import in_child
from .types import Message, Send

__all__ = ["DEFAULT_THREADS", "SendFromThread", "run", "thread_count"]

# As many as a ThreadPoolExecutor has at most by default (Python's documentation). Threads start
# when they are needed. Django's setting CHANNELS_SYNC_THREADS overrides it.
DEFAULT_THREADS = 32

# Seconds between looks at a thread whose awaiter was cancelled. Rare, so asking now and then does.
_POLL = 0.01

# Seconds between looks at whether the event loop that a thread waits for still runs.
_LOOK = 1.0


class _Call:
    """One function to be called in a thread, with Django's care for database connections."""

    __slots__ = ("_arguments", "_function", "_start", "done")

    def __init__(self, function: Callable[..., Any], arguments: tuple[Any, ...]) -> None:
        self._function = function
        self._arguments = arguments
        self._start = threading.Lock()  # taken once: by the thread, or by whoever calls it off
        self.done = False

    def call_off(self) -> bool:
        """See to it that the function is not called; False if it is too late for that."""
        return self._start.acquire(blocking=False)

    def __call__(self) -> Any:
        if not self._start.acquire(blocking=False):
            return None
        # The queries of sync code are looked after here, in their own thread.
        database.watching.set(False)
        try:
            database.close_old_connections()
            try:
                return self._function(*self._arguments)
            except StopIteration as error:
                # Before Python 3.12 no future can carry it: whoever awaits it would hang.
                raise RuntimeError("A sync handler raised StopIteration") from error
            finally:
                database.close_old_connections()
        finally:
            self.done = True


def _run(call: _Call) -> Any:
    return call()


_run_in_sensitive_thread = sync_to_async(_run, thread_sensitive=True)


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
def _run_in_pool() -> Callable[[_Call], Awaitable[Any]]:
    pool = ThreadPoolExecutor(thread_count(), thread_name_prefix="channels-sync")
    return sync_to_async(_run, thread_sensitive=False, executor=pool)


# Threads do not survive a fork; the child makes its own pool when it needs one.
in_child(_run_in_pool.cache_clear)


async def run(function: Callable[..., Any], *arguments: Any, pooled: bool) -> Any:
    """Call a sync function in a thread and wait for it, also when cancelled meanwhile.

    A thread cannot be stopped. Were the wait for it given up, the connection's next handler would
    run beside it. A function that has not been started when the wait is cancelled never is.

    Args:
        function: what to call.
        *arguments: what to call it with.
        pooled: on the pool of threads, instead of in the thread-sensitive thread.
    """
    call = _Call(function, arguments)
    runner = _run_in_pool() if pooled else _run_in_sensitive_thread
    try:
        return await runner(call)
    except asyncio.CancelledError:
        if not call.call_off():
            while not call.done:
                with contextlib.suppress(asyncio.CancelledError):  # being raised already
                    await asyncio.sleep(_POLL)
        raise


class SendFromThread:
    """A plain function that runs a coroutine function on an event loop, and waits for it.

    What ``async_to_sync`` does, at half the cost: it does not wait for work to be done in its own
    thread, which sending to a server never asks for. And it notices when the loop is no more.

    Args:
        send: the coroutine function.
        loop: where it is to run.
    """

    __slots__ = ("_loop", "_send")

    def __init__(self, send: Send, loop: asyncio.AbstractEventLoop) -> None:
        self._send = send
        self._loop = loop

    def __call__(self, message: Message) -> None:
        """Send ``message``, and return when the server has taken it."""
        coroutine = self._start(message)
        try:
            future = asyncio.run_coroutine_threadsafe(coroutine, self._loop)
        except RuntimeError:  # the loop has been closed, and nobody is there to be sent to
            coroutine.close()
            return
        while not future.done():
            concurrent.futures.wait((future,), timeout=_LOOK)
            if not self._loop.is_running():
                return
        future.result()

    async def _start(self, message: Message) -> None:
        await self._send(message)

"""State that belongs to one event loop, and the bridge that lets any thread reach a loop.

Connections, futures and tasks live and die with the event loop they were made on, while a layer
is one object for the whole process, used from the server's loop, from loops that tests make one
after another, and from the short-lived ones in which ``async_to_sync`` runs. So what a layer
keeps per loop is kept by loop, and loops that come and go are spared connections of their own:
their calls cross a bridge to one loop that stays, on a daemon thread.
"""

import asyncio
import atexit
import contextlib
import contextvars
import logging
import os
import selectors
import sys
import threading
from collections import deque
from collections.abc import Callable, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from asgiref.sync import AsyncToSync

from ..exceptions import ChannelsError
from . import forks
from .per_loop import PerLoop, kept

__all__ = [
    "Bridge",
    "BridgeClosed",
    "CallTimeout",
    "PerLoop",
    "bridge",
    "is_passing",
    "running_loop",
]

logger = logging.getLogger("channels.layers")

_T = TypeVar("_T")

# Seconds that the interpreter waits, as it exits, for what was handed in to be finished.
EXIT_GRACE = 5.0

_TOO_LATE = "The interpreter is exiting: nothing can be sent any more"


class BridgeClosed(ChannelsError, RuntimeError):
    """The interpreter is exiting, or the layer has been closed meanwhile."""


class CallTimeout(ChannelsError, TimeoutError):
    """A call took longer than its caller would wait. What it sends may still arrive."""


def is_passing(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether ``loop`` was made by ``async_to_sync`` for a single call."""
    return loop in AsyncToSync.loop_thread_executors


def running_loop() -> asyncio.AbstractEventLoop | None:
    """The event loop that runs in this thread, if one does."""
    try:
        return asyncio.get_running_loop()
    except RuntimeError:
        return None


class _Call(Generic[_T]):
    """One coroutine on its way over the bridge, and then what came of it.

    Args:
        coroutine: to be run on the bridge, in the caller's context.
        notify: called on the bridge's thread when it is over.
    """

    __slots__ = ("_context", "_coroutine", "_error", "_notify", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, _T], notify: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._notify = notify
        self._context = contextvars.copy_context()
        self._task: asyncio.Task[_T] | None = None
        self._error: Exception | None = None

    def start(self, loop: asyncio.AbstractEventLoop) -> "asyncio.Task[_T]":
        """Have it run."""
        self._task = task = loop.create_task(self._coroutine, context=self._context)
        task.add_done_callback(self._finish)
        return task

    def _finish(self, task: "asyncio.Task[_T]") -> None:
        self._notify()

    def fail(self, error: Exception) -> None:
        """End it before it has been started."""
        self._coroutine.close()
        self._error = error
        self._notify()

    def cancel(self) -> None:
        """Nobody waits for it any more."""
        if self._task is not None and not self._task.cancel() and not self._task.cancelled():
            self._task.exception()  # which nobody else will ask for

    def outcome(self) -> _T:
        """What the coroutine returned, or raise what it raised. To be asked for once."""
        task, error = self._task, self._error
        try:
            if task is None:
                raise error or RuntimeError("The call is not over")
            if task.cancelled():
                raise BridgeClosed("The call was given up: its layer, or the interpreter, ended")
            return task.result()
        finally:
            del task, error, self._task, self._error  # a traceback holds this frame


class Bridge:
    """An event loop on a daemon thread, started when it is first needed, one for each process.

    Calls that are handed in while the loop is busy are taken over together: many threads wake it
    once, and what they send to a broker travels in one pipeline. Calls start in the order in which
    they were handed in.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None
        self._context = contextvars.Context()
        self._handed_in: deque[_Call[Any]] = deque()
        self._under_way: set[asyncio.Task[Any]] = set()
        self._woken = False
        self._ended = False

    # The loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running.

        Raises:
            BridgeClosed: the interpreter is exiting.
        """
        return self._loop or self._start()

    def is_here(self) -> bool:
        """Whether the caller runs on the bridge's loop."""
        return self._loop is not None and running_loop() is self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                if self._ended:
                    raise BridgeClosed(_TOO_LATE)
                selector = selectors.DefaultSelector()
                loop = asyncio.SelectorEventLoop(selector)
                thread = threading.Thread(target=self._run, args=(loop,), name="channels-bridge")
                thread.daemon = True
                try:
                    thread.start()
                except RuntimeError as error:
                    loop.close()
                    raise BridgeClosed(_TOO_LATE) from error
                self._loop, self._selector, self._thread = loop, selector, thread
            return self._loop

    def _run(self, loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        while not self._ended:
            try:
                loop.run_forever()
            except BaseException:  # SystemExit, say; its caller gets it, others go on
                logger.debug("A call stopped the bridge's event loop; going on", exc_info=True)
        loop.close()
        while self._handed_in:
            self._handed_in.popleft().fail(BridgeClosed(_TOO_LATE))

    # Calls

    def call(self, coroutine: Coroutine[Any, Any, _T], timeout: float | None = None) -> _T:
        """Run ``coroutine`` on the bridge, and wait for it. For threads without an event loop.

        Args:
            coroutine: what to run. It sees the caller's context variables.
            timeout: seconds to wait, after which it is cancelled; None for as long as it takes.

        Raises:
            CallTimeout: it took longer than ``timeout``.
            BridgeClosed: it was cancelled, or the interpreter is exiting.
        """
        # The cheapest thing that one thread can wait for and another one end.
        over = threading.Lock()
        over.acquire()
        call = _Call(coroutine, over.release)
        try:
            self._hand_in(call)
            in_time = over.acquire(timeout=-1 if timeout is None else max(timeout, 0))
        except BaseException:  # KeyboardInterrupt, say
            self._give_up(call)
            raise
        if not in_time:
            self._give_up(call)
            raise CallTimeout(f"No answer within {timeout:g} seconds; it may still take effect")
        return call.outcome()

    async def cross(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run ``coroutine`` on the bridge, and await it on the running loop."""
        loop = asyncio.get_running_loop()
        over: asyncio.Future[None] = loop.create_future()
        call = _Call(coroutine, partial(_settle, loop, over))
        self._hand_in(call)
        try:
            await over
        except BaseException:
            self._give_up(call)
            raise
        return call.outcome()

    def _hand_in(self, call: _Call[Any]) -> None:
        try:
            loop = self._loop or self._start()
            self._handed_in.append(call)
            if not self._woken:
                self._woken = True
                loop.call_soon_threadsafe(self._take_over, context=self._context)
        except RuntimeError as error:  # BridgeClosed, or the loop has been closed this very moment
            with contextlib.suppress(ValueError):
                self._handed_in.remove(call)
            call.fail(error)

    def _take_over(self) -> None:
        """Start what has been handed in. On the bridge's thread."""
        self._woken = False  # before looking, so that what is handed in from now on wakes again
        loop, handed_in, under_way = asyncio.get_running_loop(), self._handed_in, self._under_way
        while handed_in:
            task = handed_in.popleft().start(loop)
            under_way.add(task)
            task.add_done_callback(under_way.discard)

    def _give_up(self, call: _Call[Any]) -> None:
        """Cancel a call that nobody waits for any more."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop is closed, and the call over
                # What was handed in before is taken over before.
                self._loop.call_soon_threadsafe(call.cancel)

    # The end

    def end(self, grace: float = EXIT_GRACE) -> None:
        """Finish what has been handed in, close what is kept for the loop, and stop it.

        Args:
            grace: seconds for each of these steps.
        """
        with self._lock:
            self._ended = True
            loop, self._loop = self._loop, None
        if loop is not None and self._thread is not None:
            asyncio.run_coroutine_threadsafe(self._finish(loop, grace), loop)
            self._thread.join(3 * grace)

    async def _finish(self, loop: asyncio.AbstractEventLoop, grace: float) -> None:
        try:
            self._take_over()
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    for values in list(kept):
                        await values.aclose()
            left = asyncio.all_tasks() - {asyncio.current_task()}
            for task in left:
                task.cancel()
            if left:
                await asyncio.wait(left, timeout=grace)
            await loop.shutdown_asyncgens()
        finally:
            loop.stop()

    def after_fork(self) -> None:
        """In the child: begin anew, without touching what is the parent's."""
        for values in list(kept):
            values.renew_lock()
        if self._selector is not None:
            forks.disown(self._selector, self._loop, self._handed_in, self._under_way)
        self._begin()


def _settle(loop: asyncio.AbstractEventLoop, over: "asyncio.Future[None]") -> None:
    """Tell another loop that a call is over; should it have ended meanwhile, nobody waits."""
    with contextlib.suppress(RuntimeError):
        loop.call_soon_threadsafe(_resolve, over)


def _resolve(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


#: The process's bridge.
bridge = Bridge()

# Runs when no thread but daemons is left, after the handlers that a project registers.
atexit.register(bridge.end)
if sys.platform != "win32":
    os.register_at_fork(after_in_child=bridge.after_fork)

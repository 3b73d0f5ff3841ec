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
import logging
import selectors
import threading
from collections.abc import Callable, Container, Coroutine
from functools import partial
from typing import Any, Generic, TypeVar

from asgiref.sync import AsyncToSync

from ..exceptions import BridgeClosed, CallTimeout
from . import clock, forks
from .per_loop import PerLoop, kept

__all__ = [
    "Bridge",
    "BridgeClosed",
    "CallTimeout",
    "PerLoop",
    "bridge",
    "is_passing",
    "passing_loops",
    "running_loop",
]

logger = logging.getLogger("channels.layers")

_T = TypeVar("_T")

# Seconds that the interpreter waits, as it exits, for what was handed in to be finished.
EXIT_GRACE = 5.0

_TOO_LATE = "The interpreter is exiting: nothing can be sent any more"


#: The event loops that ``async_to_sync`` has made for a single call each, at this moment. To look
#: here saves what sends messages a call of :func:`is_passing`.
passing_loops: Container[asyncio.AbstractEventLoop] = AsyncToSync.loop_thread_executors


def is_passing(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether ``loop`` was made by ``async_to_sync`` for a single call."""
    return loop in passing_loops


#: The event loop that runs in this thread, or None. It is compiled code, and raises nothing.
running_loop: Callable[[], asyncio.AbstractEventLoop | None] = asyncio._get_running_loop


class _Call(Generic[_T]):
    """One coroutine on its way over the bridge, and then its outcome.

    Args:
        coroutine: to be run on the bridge, in the caller's context.
        notify: called on the bridge's thread when it is over.
    """

    __slots__ = ("_coroutine", "_notify", "_task")

    def __init__(self, coroutine: Coroutine[Any, Any, _T], notify: Callable[[], object]) -> None:
        self._coroutine = coroutine
        self._notify = notify
        self._task: asyncio.Task[_T] | None = None

    def start(self, under_way: "set[asyncio.Task[Any]]") -> None:
        """Start the coroutine. On the bridge's thread, in the caller's context."""
        loop = asyncio.get_running_loop()
        self._task = task = loop.create_task(self._coroutine)
        under_way.add(task)
        task.add_done_callback(under_way.discard)
        task.add_done_callback(self._finish)

    def _finish(self, task: "asyncio.Task[_T]") -> None:
        if not task.cancelled():
            task.exception()  # retrieved, since the caller may have given up
        self._notify()

    def cancel(self) -> None:
        """Cancel the coroutine, because its caller has given up. On the bridge's thread."""
        if self._task is not None:
            self._task.cancel()
        else:  # its caller was interrupted before it was handed in
            self.refuse()

    def refuse(self) -> None:
        """Close the coroutine, which will not be started."""
        self._coroutine.close()

    def outcome(self) -> _T:
        """What the coroutine returned, or raise what it raised. To be asked for once."""
        task = self._task
        try:
            if task is None or task.cancelled():
                raise BridgeClosed("The call was given up: its layer, or the interpreter, ended")
            return task.result()
        finally:
            del task, self._task  # the error's traceback holds this frame


class _Loop(asyncio.SelectorEventLoop):
    """An event loop whose timers go on while a test has frozen ``time.monotonic()``."""

    def time(self) -> float:
        return clock.now()


class Bridge:
    """An event loop on a daemon thread, started when it is first needed, one for each process.

    Calls start in the order in which they were handed in. Those that come while the loop is busy
    start together, so that what they send to a broker travels in one pipeline.
    """

    def __init__(self) -> None:
        self._begin()

    def _begin(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._selector: selectors.BaseSelector | None = None
        self._thread: threading.Thread | None = None
        self._under_way: set[asyncio.Task[Any]] = set()
        self._ended = False

    # The loop

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running.

        Raises:
            BridgeClosed: the interpreter is exiting.
        """
        return self._loop or self._start()

    def runs(self, loop: asyncio.AbstractEventLoop) -> bool:
        """Whether ``loop`` is the bridge's own."""
        return loop is self._loop

    def _start(self) -> asyncio.AbstractEventLoop:
        with self._lock:
            if self._loop is None:
                if self._ended:
                    raise BridgeClosed(_TOO_LATE)
                selector = selectors.DefaultSelector()
                loop = _Loop(selector)
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
        while not self._ended:
            try:
                loop.run_forever()
            except BaseException:  # SystemExit, say; its caller gets it, others go on
                logger.debug("A call stopped the bridge's event loop; going on", exc_info=True)
        loop.close()

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
        # The cheapest thing that one thread can wait for and another one release.
        over = threading.Lock()
        over.acquire()
        call = _Call(coroutine, over.release)
        try:
            self._hand_in(call)
            in_time = over.acquire(timeout=_for_a_lock(timeout))
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
        try:
            self._hand_in(call)
            await over
        except BaseException:
            self._give_up(call)
            raise
        return call.outcome()

    def spawn(self, coroutine: Coroutine[Any, Any, object]) -> None:
        """Run ``coroutine`` on the bridge, and wait for nothing, whatever comes of it.

        Raises:
            BridgeClosed: the interpreter is exiting.
        """
        self._hand_in(_Call(coroutine, lambda: None))

    def _hand_in(self, call: _Call[Any]) -> None:
        try:
            self.loop.call_soon_threadsafe(call.start, self._under_way)  # takes the context along
        except RuntimeError as error:  # it has been closed, if only this very moment
            call.refuse()
            raise BridgeClosed(_TOO_LATE) from error

    def _give_up(self, call: _Call[Any]) -> None:
        """Cancel a call when its caller has stopped waiting."""
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed, and the call ended
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
            if self._under_way:
                await asyncio.wait(self._under_way, timeout=grace)
            with contextlib.suppress(TimeoutError):
                async with asyncio.timeout(grace):
                    for values in list(kept):
                        with contextlib.suppress(Exception):  # there is no caller left
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
            forks.disown(self._selector, self._loop, self._under_way)
        self._begin()


def _for_a_lock(timeout: float | None) -> float:
    """What a lock takes for a timeout."""
    return -1 if timeout is None else min(max(timeout, 0), threading.TIMEOUT_MAX)


def _settle(loop: asyncio.AbstractEventLoop, over: "asyncio.Future[None]") -> None:
    """Tell another loop that a call is over."""
    with contextlib.suppress(RuntimeError):  # the loop has been closed, with all that waited
        loop.call_soon_threadsafe(_resolve, over)


def _resolve(over: "asyncio.Future[None]") -> None:
    if not over.done():
        over.set_result(None)


#: The process's bridge.
bridge = Bridge()

# Runs when no thread but daemons is left, after the handlers that a project registers.
atexit.register(bridge.end)
forks.in_child(bridge.after_fork)

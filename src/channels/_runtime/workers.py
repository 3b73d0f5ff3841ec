"""An executor that has as many threads as there is work at a time, and no more."""

import atexit
import threading
from collections.abc import Callable
from concurrent.futures import Executor, Future
from queue import SimpleQueue
from typing import Any, TypeVar
from weakref import WeakSet

from django.db import connections

from . import clock

__all__ = ["Workers"]

_T = TypeVar("_T")

# Seconds that the interpreter waits, as it exits, for what the threads are doing.
_EXIT_GRACE = 5.0


class Workers(Executor):
    """An executor that starts a thread when all others are busy, and ends those beyond a limit.

    ``ThreadPoolExecutor`` does neither for sure: it may start a thread while another is about to be
    free, and ends none. Each of ours may hold a database connection.

    Args:
        keep: how many threads may stay.
        finished: called in the thread when it is free again.
        name: of the threads.
        exit_grace: seconds that the interpreter waits, as it exits, for what they are doing.
    """

    def __init__(
        self,
        keep: Callable[[], int],
        finished: Callable[[], None],
        *,
        name: str = "channels-sync",
        exit_grace: float = _EXIT_GRACE,
    ) -> None:
        self._keep = keep
        self._finished = finished
        self._name = name
        self._exit_grace = exit_grace
        self._lock = threading.Lock()
        #: Those that have not ended, and are not about to.
        self.threads: set[threading.Thread] = set()
        #: Calls that have not ended.
        self.under_way = 0
        self._queue: SimpleQueue[tuple[Future[Any], Callable[[], Any]] | None] = SimpleQueue()
        _all.add(self)

    def submit(self, function: Callable[..., _T], /, *args: Any, **kwargs: Any) -> "Future[_T]":
        """Call ``function`` in a thread."""
        future: Future[_T] = Future()
        with self._lock:
            if self.under_way >= len(self.threads):
                # A daemon, so that a handler that never returns does not keep the process.
                thread = threading.Thread(target=self._work, name=self._name, daemon=True)
                self.threads.add(thread)
                try:
                    thread.start()
                except BaseException:
                    self.threads.discard(thread)
                    raise
            self.under_way += 1
        self._queue.put((future, lambda: function(*args, **kwargs)))
        return future

    def _work(self) -> None:
        while (work := self._queue.get()) is not None:
            future, function = work
            settle: Callable[[Any], None] | None = None
            outcome: Any = None
            if future.set_running_or_notify_cancel():
                try:
                    outcome, settle = function(), future.set_result
                except BaseException as error:  # noqa: BLE001 - told by the future
                    outcome, settle = error, future.set_exception
            surplus = self._is_free()
            self._finished()
            if settle is not None:
                settle(outcome)
            del work, future, function, settle, outcome  # this thread would keep them
            if surplus:
                connections.close_all()  # this thread's, that is
                return

    def _is_free(self) -> bool:
        """The calling thread has done its work. Returns whether it is one too many."""
        with self._lock:
            self.under_way -= 1
            surplus = len(self.threads) > max(self.under_way, self._keep())
            if surplus:
                self.threads.discard(threading.current_thread())
        return surplus

    def end(self, grace: float | None = None) -> None:
        """End the threads that have nothing to do, and the others within ``grace`` seconds."""
        with self._lock:
            threads = list(self.threads)
        for _ in threads:
            self._queue.put(None)
        deadline = clock.now() + (self._exit_grace if grace is None else grace)
        for thread in threads:
            thread.join(max(deadline - clock.now(), 0.0))


_all: "WeakSet[Workers]" = WeakSet()


@atexit.register
def _end() -> None:
    for workers in list(_all):
        workers.end()

"""The worker of tasks in memory: on a thread of the process that has them."""

import asyncio
import atexit
import contextlib
import threading
from typing import Any

from channels._runtime.forks import in_child

from .store import Store
from .worker import TaskWorker

__all__ = ["LocalWorker", "ensure_worker", "stop_workers"]

# Seconds that tasks may take as the interpreter exits.
_EXIT_GRACE = 5.0


class LocalWorker:
    """A worker on an event loop of its own, on a daemon thread.

    Args:
        backend: whose tasks it runs.
        store: where they are.
    """

    def __init__(self, backend: Any, store: Store) -> None:
        self.store = store
        self._worker = TaskWorker(backend)
        self._worker.drain_timeout = _EXIT_GRACE
        self._loop = asyncio.new_event_loop()
        self._thread = threading.Thread(target=self._run, name="channels-tasks", daemon=True)
        self._thread.start()

    def _run(self) -> None:
        with asyncio.Runner(loop_factory=lambda: self._loop) as runner:
            runner.run(self._worker.handle())

    @property
    def is_alive(self) -> bool:
        """Whether it takes tasks."""
        return self._thread.is_alive()

    def stop(self, *, wait: bool = True) -> None:
        """Let running tasks finish, for some seconds, and end.

        Args:
            wait: return when it has ended.
        """
        with contextlib.suppress(RuntimeError):  # its loop has been closed
            self._loop.call_soon_threadsafe(self._worker.stop)
        if wait:
            self._thread.join(_EXIT_GRACE + 1)


# By the aliases of the backends.
_workers: dict[str, LocalWorker] = {}
_lock = threading.Lock()


def ensure_worker(backend: Any, store: Store) -> None:
    """Have a worker in this process for the tasks of a backend; one is enough.

    Args:
        backend: whose tasks.
        store: where they are. The worker of a store from before the settings changed is ended.
    """
    with _lock:
        before = _workers.get(backend.alias)
        if before is not None and before.store is store and before.is_alive:
            return
        _workers[backend.alias] = LocalWorker(backend, store)
    if before is not None:
        before.stop(wait=False)


def stop_workers() -> None:
    """End the workers of this process, after the tasks that they run."""
    with _lock:
        workers = list(_workers.values())
        _workers.clear()
    for worker in workers:
        worker.stop()


def _after_fork() -> None:
    """In a child, which has none of the threads."""
    global _lock  # noqa: PLW0603 - a thread that is not there may hold the other one
    _lock = threading.Lock()
    _workers.clear()


atexit.register(stop_workers)
in_child(_after_fork)

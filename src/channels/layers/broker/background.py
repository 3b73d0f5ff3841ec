"""What hearing something leads to in the background: callbacks of projects, and joins."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from inspect import isawaitable
from typing import Any, Protocol, TypeAlias

__all__ = ["Background", "Callback", "Callbacks"]

logger = logging.getLogger("channels.layers")

#: Called without arguments, and awaited if it returns an awaitable.
Callback: TypeAlias = Callable[[], object] | None


class Callbacks(Protocol):
    """What to call as connections break and are repaired. Looked up each time."""

    on_disconnect: Callback
    on_reconnect: Callback


class Background:
    """Awaits what nobody waits for. Errors are logged."""

    def __init__(self) -> None:
        self._tasks: set[asyncio.Future[Any]] = set()

    def call(self, callback: Callback) -> None:
        """Call a project's callback, and await it if it is a coroutine function."""
        if callback is None:
            return
        try:
            result = callback()
        except Exception:
            logger.exception("%r failed", callback)
            return
        if isawaitable(result):
            self.start(result)

    def start(self, awaitable: Awaitable[Any]) -> None:
        """Await something on the running event loop."""
        task = asyncio.ensure_future(awaitable)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("What the broker's news led to has failed", exc_info=task.exception())

    def cancel(self) -> None:
        """Await nothing any more."""
        for task in list(self._tasks):
            task.cancel()

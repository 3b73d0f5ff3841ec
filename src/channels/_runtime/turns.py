"""Lets the tasks that a handler created begin before the next handler runs.

The next handler may need what such a task does first.
The loop runs what it was given in order, so a handler that waits for one turn comes after all that
was there before. A turn costs as much as a good part of a handler, so it is taken only where the
loop was given a task.
"""

import asyncio
import contextlib
from collections.abc import Coroutine, Generator
from types import coroutine
from typing import Any

__all__ = ["Turns", "turn"]


class Turns:
    """Counts the tasks that are created on one event loop.

    It is the loop's task factory, and makes the tasks that the loop would have made. Where another
    factory is in charge, before or later, nothing is known, and every handler counts as one that
    has created a task. ``asyncio.Task(...)``, without the loop, is not seen.
    """

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._get_factory = loop.get_task_factory
        self._factory = self._create  # one object, to be recognized
        #: Tasks created so far.
        self.count = 0
        with contextlib.suppress(NotImplementedError):  # a loop without factories
            if loop.get_task_factory() is None:
                loop.set_task_factory(self._factory)  # type: ignore[arg-type] # any options

    def _create(
        self, loop: asyncio.AbstractEventLoop, coro: Coroutine[Any, Any, Any], **options: Any
    ) -> "asyncio.Task[Any]":
        self.count += 1
        return asyncio.Task(coro, loop=loop, **options)

    def due(self, before: int) -> bool:
        """Whether a task may have been created since :attr:`count` was ``before``."""
        return self.count != before or self._get_factory() is not self._factory


@coroutine
def turn() -> Generator[None, None, None]:
    """Let the event loop run what it was given before (``asyncio.sleep(0)``, for less)."""
    yield

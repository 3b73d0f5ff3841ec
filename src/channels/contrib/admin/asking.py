"""Asks all processes, once for all who watch in this process, and not at all while nobody does."""

import asyncio
from collections.abc import Callable, Coroutine, Hashable
from typing import Any, TypeVar

from ..._runtime import backstage
from ..._runtime.per_loop import PerLoop
from ...live import FARTHEST, Look, Overview, Query, aask_connections
from .names import Names

__all__ = ["Asking", "Page", "asking", "pause_after"]

_T = TypeVar("_T")

#: Rows of a list of connections, with how many there are in all.
Page = tuple[int, list[tuple[str, Any]]]

# Seconds from one look to the next, at least.
_PAUSE = 1.0

# A process looks at each of its connections, which takes about ten microseconds. With more of them
# than this in one process there are longer pauses, so that looks take a tenth of its time.
_EACH_SECOND = 10_000

# Seconds that processes have to answer: usually, and at most.
_ANSWER, _LONGEST = 0.8, 5.0

# The second look of so many waits longer, for processes that need more time than was known.
_PATIENT = 30


class Asking:
    """What one event loop asks."""

    def __init__(self) -> None:
        self._look = Look()
        self._names = Names()
        self._running: dict[Hashable, asyncio.Task[Any]] = {}
        self._looks = 0
        self._seconds = _ANSWER

    async def overview(self) -> tuple[Overview, dict[str, str]]:
        """How all processes are, and the names of the users in that."""
        return await self._once("overview", self._overview)

    async def connections(self, query: Query, offset: int) -> Page:
        """The connections that are asked for."""
        offset = min(offset, FARTHEST)
        return await self._once(
            (query, offset), lambda: aask_connections(query, offset, self._seconds)
        )

    async def _overview(self) -> tuple[Overview, dict[str, str]]:
        patient = self._looks % _PATIENT == 1
        found = await self._look.aask(4 * _ANSWER if patient else self._seconds)
        self._looks += 1
        self._seconds = min(_ANSWER * pause_after(found), _LONGEST)
        return found, await self._names.of(found.users)

    async def _once(self, key: Hashable, ask: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """The answer to a question, which is asked once for all who wait for it."""
        task: asyncio.Task[_T] | None = self._running.get(key)
        if task is None:
            task = backstage.start(ask())
            self._running[key] = task
            task.add_done_callback(lambda _: self._running.pop(key, None))
            task.add_done_callback(backstage.ignore_failure)
        return await asyncio.shield(task)


def pause_after(found: Overview) -> float:
    """Seconds from the beginning of one look to that of the next."""
    largest = max((process.connections for process in found.processes), default=0)
    return _PAUSE * max(1.0, largest / _EACH_SECOND)


#: Those of the running event loop.
asking = PerLoop(Asking)

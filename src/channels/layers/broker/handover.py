"""Work on another event loop, and what one loop that ends leaves to another one."""

import asyncio
import contextlib
import inspect
from collections.abc import Callable, Coroutine, Iterable
from typing import Any, TypeVar

from ..._runtime import timers
from ...exceptions import ChannelsError

__all__ = ["Loop", "LoopEnded", "across", "hand_over"]

Loop = asyncio.AbstractEventLoop

_T = TypeVar("_T")

_LOOK = 0.25  # seconds between looks at whether another event loop still runs


class LoopEnded(ChannelsError):
    """The other event loop has ended, and nobody knows how far the work had got."""


async def across(loop: Loop, work: Coroutine[Any, Any, _T]) -> _T:
    """Await ``work`` on another event loop.

    Returns:
        What it returned. What it raises is raised here.

    Raises:
        LoopEnded: the event loop has ended, or does not run, before the work was done.
    """
    try:
        future = asyncio.wrap_future(asyncio.run_coroutine_threadsafe(work, loop))
    except RuntimeError:  # it has been closed
        work.close()
        raise LoopEnded from None
    try:
        while not future.done() and loop.is_running():
            await asyncio.wait((future,), timeout=_LOOK)
        if future.done() and not future.cancelled():
            return future.result()
    finally:
        future.cancel()
    if inspect.getcoroutinestate(work) == inspect.CORO_CREATED and not loop.is_running():
        work.close()
    await timers.sleep(_LOOK)  # it may be about to end
    raise LoopEnded


def hand_over(
    waiting: Callable[[], Iterable[Loop]],
    go_on: Callable[[], object],
    tried: frozenset[Loop] = frozenset(),
) -> None:
    """Call ``go_on`` on another event loop, as this one ends.

    Not on a loop whose every task has been cancelled, which is how ``asyncio.run`` ends a loop:
    what is started there would be left behind.

    Args:
        waiting: the event loops on which somebody waits for what this one has done so far.
        go_on: called on the first of them that goes on itself; on none if there is none.
        tried: the loops that are not asked.
    """
    tried |= {asyncio.get_running_loop()}

    def take() -> None:
        tasks = asyncio.all_tasks()
        if tasks and all(task.cancelling() for task in tasks):
            hand_over(waiting, go_on, tried)
        else:
            go_on()

    for loop in waiting():
        if loop not in tried and loop.is_running():
            with contextlib.suppress(RuntimeError):  # it has been closed
                loop.call_soon_threadsafe(take)
                return

"""Helpers that packages import from here."""

import asyncio
import types
from collections.abc import Awaitable, Callable, Iterable
from typing import Any

__all__ = ["await_many_dispatch", "name_that_thing"]


def name_that_thing(thing: object) -> str:
    """The dotted path of a function, method or class; for any other object, of its class."""
    if isinstance(thing, types.MethodType):
        owner = thing.__self__
        cls = owner if isinstance(owner, type) else type(owner)
        return f"{name_that_thing(cls)}.{thing.__name__}"
    if not isinstance(thing, (type, types.FunctionType, types.BuiltinFunctionType)):
        thing = type(thing)
    return f"{thing.__module__}.{thing.__qualname__}"


async def await_many_dispatch(
    consumer_callables: Iterable[Callable[[], Awaitable[Any]]],
    dispatch: Callable[[Any], Awaitable[None]],
) -> None:
    """Pass what several sources yield to one coroutine function, one result at a time.

    Args:
        consumer_callables: sources; each is called again as soon as its last result was dispatched.
        dispatch: awaited with each result.

    Runs until a source or ``dispatch`` raises, or it is cancelled; then no source is left running.
    """
    sources = list(consumer_callables)
    tasks = [asyncio.ensure_future(source()) for source in sources]
    try:
        while True:
            await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
            # In turn, so that a busy source cannot starve the others.
            for index, task in enumerate(tasks):
                if task.done():
                    await dispatch(task.result())
                    tasks[index] = asyncio.ensure_future(sources[index]())
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.gather(*tasks, return_exceptions=True)

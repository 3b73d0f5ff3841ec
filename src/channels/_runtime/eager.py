"""Awaiting what rarely waits, at the price of what never does."""

from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any

__all__ = ["begin"]


def begin(work: Awaitable[None]) -> Awaitable[None] | None:
    """Do as much of ``work`` as can be done without waiting.

    Returns:
        None when that was all; otherwise what the calling task has to await, as if it had awaited
        ``work``. Nothing is begun of what is no plain coroutine.

    Raises:
        Exception: what ``work`` raises.
    """
    if type(work) is not CoroutineType:
        return work
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _go_on(work, awaited)


@coroutine
def _go_on(work: "CoroutineType[Any, Any, None]", awaited: Any) -> Generator[Any, Any, None]:
    """The rest of ``yield from work``, which waits for ``awaited`` already (PEP 380)."""
    try:
        while True:
            try:
                value = yield awaited
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, most likely
                awaited = work.throw(error)
            else:
                awaited = work.send(value)
    except StopIteration:
        return

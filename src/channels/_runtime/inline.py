"""Runs a coroutine in the calling task up to the first point where it has to wait.

Most sends do not wait at all. Those that do have to be watched (see connections.py), which costs
more than the send. So the caller first learns whether the send has to wait.
"""

from collections.abc import Awaitable, Generator
from types import CoroutineType, coroutine
from typing import Any

__all__ = ["start_inline"]


def start_inline(work: Awaitable[None]) -> Awaitable[None] | None:
    """Run ``work`` until it is finished or has to wait.

    Returns:
        None if ``work`` is finished. Otherwise an awaitable for the rest, which the calling task
        has to await, as if it had awaited ``work``. An awaitable that is not a plain coroutine is
        not started, but returned as it is.

    Raises:
        Exception: what ``work`` raises.
    """
    if type(work) is not CoroutineType:
        return work
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _await_rest(work, awaited)


@coroutine
def _await_rest(work: "CoroutineType[Any, Any, None]", awaited: Any) -> Generator[Any, Any, None]:
    """The rest of ``yield from work``, which already waits for ``awaited`` (PEP 380)."""
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

"""Answers threads that wait for async code which is cancelled before it has begun.

A thread that calls ``async_to_sync(function)()`` hands a coroutine to the event loop, and waits
until that coroutine, as its first and last deed, sees to an outcome. When an event loop ends,
``asyncio.run`` and test runners cancel every task. One that has not begun then never does, and
asgiref leaves the thread waiting for ever: handlers are waited for, and so the loop never ends,
nor do ``sync_to_async`` functions, for which the interpreter waits as it exits.

So asgiref is given a coroutine here that cannot be cancelled without an answer: the thread gets the
``CancelledError``, as it does where the code has begun. That holds for every caller of
``async_to_sync`` in the process, since calls are nested: Django's own code is between ours and a
project's. Checked with asgiref 3.9 to 3.13; another one that calls its parts otherwise is left as
it is.
"""

import asyncio
import inspect
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future
from typing import Any

from asgiref.sync import AsyncToSync

__all__ = ["Answering", "install"]

_Wrap = Callable[..., Coroutine[Any, Any, None]]


class Answering(Coroutine[Any, Any, None]):
    """A coroutine for which a thread waits.

    Args:
        coroutine: what settles ``outcome`` once it has begun.
        outcome: what the thread waits for.
        awaitable: what ``coroutine`` awaits, to be closed if it never does.
    """

    __slots__ = ("_awaitable", "_begun", "_coroutine", "_outcome")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], outcome: "Future[Any]", awaitable: Any
    ) -> None:
        self._coroutine = coroutine
        self._outcome = outcome
        self._awaitable = awaitable
        self._begun = False

    def __await__(self) -> Generator[Any, Any, None]:
        self._begun = True
        return self._coroutine.__await__()

    def send(self, value: Any) -> Any:
        """Begin, or go on."""
        self._begun = True
        return self._coroutine.send(value)

    def throw(self, *error: Any) -> Any:
        """Raise ``error`` where the coroutine waits. It is a cancellation if it has not begun."""
        self._answer()
        return self._coroutine.throw(*error)

    def close(self) -> None:
        """End it."""
        self._answer()
        self._coroutine.close()

    def _answer(self) -> None:
        if self._begun:
            return
        self._begun = True
        if inspect.iscoroutine(self._awaitable):
            self._awaitable.close()
        self._outcome.set_exception(asyncio.CancelledError())


def install() -> None:
    """Let asgiref answer threads. To do so again changes nothing."""
    wrap: _Wrap = AsyncToSync.main_wrap
    names = list(inspect.signature(wrap).parameters)
    if names[:2] == ["self", "call_result"] and names[-1] == "awaitable":
        AsyncToSync.main_wrap = _answering(wrap)  # type: ignore[method-assign]


def _answering(wrap: _Wrap) -> _Wrap:
    def main_wrap(self: Any, call_result: "Future[Any]", *arguments: Any) -> Answering:
        return Answering(wrap(self, call_result, *arguments), call_result, arguments[-1])

    return main_wrap

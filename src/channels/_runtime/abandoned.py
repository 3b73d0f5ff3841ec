"""Answers threads that wait for async code which its event loop has abandoned.

A thread that calls ``async_to_sync(function)()`` hands a coroutine to the event loop, and waits
until that coroutine, as its last deed, sees to an outcome. Three ends of an event loop leave it
waiting for ever, in asgiref:

- ``asyncio.run`` and test runners cancel every task. One that has not begun then never does. So the
  loop, which waits for handlers, does not end.
- The loop is closed with the coroutine still on its way, since not every thread is waited for. So
  what needs the thread later, as the next test does, never gets it.
- A server stops its event loop without that, as Daphne does after Ctrl-C. So the process does not
  end, because the interpreter waits for the thread of ``sync_to_async``.

So asgiref is given a coroutine here that answers in these cases too: the thread gets a
``CancelledError``, as it does where code that has begun is cancelled. That holds for every caller
of ``async_to_sync`` in the process, since calls are nested: Django's own code is between ours and a
project's. Checked with asgiref 3.9 to 3.13; another one that calls its parts otherwise is left as
it is.
"""

import asyncio
import atexit
import contextlib
import inspect
import threading
from collections.abc import Callable, Coroutine, Generator
from concurrent.futures import Future, InvalidStateError
from typing import Any

from asgiref.sync import AsyncToSync, SyncToAsync

from . import forks

__all__ = ["Answering", "answer_all", "install"]

_Wrap = Callable[..., Coroutine[Any, Any, None]]


class Answering(Coroutine[Any, Any, None]):
    """A coroutine for which a thread waits.

    Args:
        coroutine: what settles ``outcome`` once it has begun.
        outcome: what the thread waits for.
        awaitable: what ``coroutine`` awaits, to be closed if it never does.
    """

    __slots__ = ("_awaitable", "_begun", "_coroutine", "_outcome", "loop")

    def __init__(
        self, coroutine: Coroutine[Any, Any, None], outcome: "Future[Any]", awaitable: Any
    ) -> None:
        self._coroutine = coroutine
        self._outcome = outcome
        self._awaitable = awaitable
        self._begun = False
        #: Where it is to run. If this is None or has been closed, asgiref makes another.
        self.loop: Any = getattr(SyncToAsync.threadlocal, "main_event_loop", None)
        if self.loop is not None and not self.loop.is_closed():
            _waited_for.add(self)
            if id(self.loop) not in _watched:
                _watch(self.loop)
            if _exiting:
                self.answer_if_abandoned()

    def __await__(self) -> Generator[Any, Any, None]:
        """Run within another coroutine: of a loop that asgiref makes, or of a task factory."""
        self._begun, self.loop = True, asyncio.get_running_loop()
        try:
            yield from self._coroutine.__await__()
        finally:
            _waited_for.discard(self)

    def send(self, value: Any) -> Any:
        """Begin, or go on."""
        self._begun = True
        try:
            return self._coroutine.send(value)
        except BaseException:  # it has ended, and answered
            _waited_for.discard(self)
            raise

    def throw(self, *error: Any) -> Any:
        """Raise ``error`` where the coroutine waits. It is a cancellation if it has not begun."""
        if not self._begun:
            self._answer()
        try:
            return self._coroutine.throw(*error)
        except BaseException:
            _waited_for.discard(self)
            raise

    def close(self) -> None:
        """End it."""
        if not self._begun:
            self._answer()
        self._coroutine.close()

    def answer_if_abandoned(self) -> None:
        """Answer, if the event loop on which the coroutine would go on does not run."""
        if not self.loop.is_running():
            # What it does as it ends may need the loop.
            with contextlib.suppress(BaseException):
                self.throw(asyncio.CancelledError())
            self._answer()
            with contextlib.suppress(BaseException):
                self._coroutine.close()

    def _answer(self) -> None:
        if not self._begun and inspect.iscoroutine(self._awaitable):
            self._awaitable.close()
        self._begun = True
        _waited_for.discard(self)
        with contextlib.suppress(InvalidStateError):  # it has its answer
            self._outcome.set_exception(asyncio.CancelledError())


# Those whose threads have no answer yet.
_waited_for: set[Answering] = set()
_exiting = False


# The identities of the event loops whose end is noticed.
_watched: set[int] = set()

# Seconds until a timer that is never to ring: ten years.
_NEVER = 3e8


class _Watch:
    """Something that only an event loop refers to, until it is closed."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._identity = id(loop)
        _watched.add(self._identity)
        loop.call_soon_threadsafe(self.stay, loop)

    def stay(self, loop: asyncio.AbstractEventLoop) -> None:
        loop.call_later(_NEVER, self.stay, loop)

    def __del__(self) -> None:
        _watched.discard(self._identity)
        for coroutine in list(_waited_for):
            if coroutine.loop.is_closed():
                coroutine.answer_if_abandoned()


def _watch(loop: asyncio.AbstractEventLoop) -> None:
    with contextlib.suppress(RuntimeError):  # it has been closed this very moment
        _Watch(loop)


def answer_all() -> None:
    """Answer the threads that wait for event loops which do not run, now and from now on."""
    global _exiting  # noqa: PLW0603 - the interpreter's
    _exiting = True
    for coroutine in list(_waited_for):
        coroutine.answer_if_abandoned()


def install() -> None:
    """Let asgiref answer threads. To do so again changes nothing."""
    wrap: _Wrap = AsyncToSync.main_wrap
    names = list(inspect.signature(wrap).parameters)
    if names[:2] == ["self", "call_result"] and names[-1] == "awaitable":
        AsyncToSync.main_wrap = _answering(wrap)  # type: ignore[method-assign]
        # Threads of ThreadPoolExecutor are waited for between the two. What comes before that has
        # no public name.
        register = getattr(threading, "_register_atexit", atexit.register)
        register(answer_all)


def _answering(wrap: _Wrap) -> _Wrap:
    def main_wrap(self: Any, call_result: "Future[Any]", *arguments: Any) -> Answering:
        return Answering(wrap(self, call_result, *arguments), call_result, arguments[-1])

    return main_wrap


# The threads of its parent, which wait, are not there.
forks.in_child(_waited_for.clear)

"""Running one check: with a time limit, never twice at a time, and not anew for every request."""

import asyncio
import contextlib
import logging
import re
import threading
import time
from collections.abc import Callable
from inspect import iscoroutine
from typing import Any

from asgiref.sync import iscoroutinefunction
from django.conf import settings
from django.db import connections

from ..._runtime import clock
from ..._runtime.logtext import printable
from ..._runtime.reports import Result
from ...exceptions import ChannelsError

__all__ = ["CheckFailed", "InvalidHealthCheck", "Prober", "describe"]

logger = logging.getLogger("channels.health")

# Seconds for which a result is used again, so that many requests do not mean many checks.
FRESH = 1.0

# Seconds that a check may take to end once it has been cancelled.
_GRACE = 0.1

# What precedes the word is not part of the pattern: matching it as well would take time that grows
# with the square of the length of a text, and texts come from outside.
_SECRETS = re.compile(
    r"""((?:passw(?:or)?d|pwd|secret|token|api_?key)["']?\s*[=:]\s*)"""
    r"""('[^']*'|"[^"]*"|[^\s,;&)]+)""",
    re.IGNORECASE,
)


class CheckFailed(ChannelsError):
    """Raise it in a check of your own to say what is wrong; the answer shows the text."""


class InvalidHealthCheck(ChannelsError, ValueError):
    """A health check cannot be performed as it is configured."""


class Prober:
    """Runs one check on one event loop.

    Callers share an attempt that is under way, and a result that is younger than a second. An
    attempt that takes longer than the timeout counts as failed. While an attempt cannot be ended,
    because it blocks a thread or ignores its cancellation, no other is started.

    Args:
        name: of the check.
        check: a coroutine function, or a plain one, which is called in a thread of its own. It
            fails by raising, or by returning False.
        timeout: seconds that it may take.
    """

    def __init__(self, name: str, check: Callable[[], Any], timeout: float) -> None:
        self._name = name
        self._check = check
        self._timeout = timeout
        self._asking: asyncio.Task[Result] | None = None
        self._fresh_until = 0.0
        self._attempt: asyncio.Future[Any] | None = None
        self._began = 0.0
        self._was_ok = True

    async def ask(self) -> Result:
        """What the check found, at most a second ago."""
        asking = self._asking
        if asking is None or (asking.done() and clock.now() >= self._fresh_until):
            asking = self._asking = asyncio.get_running_loop().create_task(self._perform())
        return await asyncio.shield(asking)

    async def _perform(self) -> Result:
        started = time.perf_counter()
        error = await self._try()
        result = Result(error is None, (time.perf_counter() - started) * 1000, error)
        self._fresh_until = clock.now() + FRESH
        if result.ok != self._was_ok:
            self._was_ok = result.ok
            if result.ok:
                logger.info("Health check %s is well again", self._name)
            else:
                logger.warning("Health check %s fails: %s", self._name, error)
        return result

    async def _try(self) -> str | None:
        """What is wrong, or None."""
        now = clock.now()
        if self._attempt is not None and not self._attempt.done():
            return f"an attempt has been hanging for {now - self._began:.0f} s"
        self._began = now
        self._attempt = attempt = self._begin()
        attempt.add_done_callback(_retrieve)
        await asyncio.wait((attempt,), timeout=self._timeout)
        if not attempt.done():
            if isinstance(attempt, asyncio.Task):
                attempt.cancel()
                await asyncio.wait((attempt,), timeout=_GRACE)
            return f"no answer within {self._timeout:g} s"
        if attempt.cancelled():
            return "was cancelled from within"
        error = attempt.exception()
        if error is not None:
            return describe(error)
        return "returned False" if attempt.result() is False else None

    def _begin(self) -> "asyncio.Future[Any]":
        if iscoroutinefunction(self._check) or iscoroutinefunction(type(self._check).__call__):
            return asyncio.get_running_loop().create_task(self._check())
        return _in_thread(self._check)


def _in_thread(function: Callable[[], Any]) -> "asyncio.Future[Any]":
    """Call a function in a new thread; the future is done when the thread is.

    Not in a pool: one that hangs must neither hold up others nor the end of the interpreter, so
    it is a daemon.
    """
    loop = asyncio.get_running_loop()
    future: asyncio.Future[Any] = loop.create_future()

    def run() -> None:
        try:
            outcome = _call(function)
            settle: Callable[[Any], None] = future.set_result
        except Exception as error:  # noqa: BLE001 - told by the future
            # A future cannot carry it (Python's documentation of set_exception).
            stopped = isinstance(error, StopIteration)
            outcome = RuntimeError("raised StopIteration") if stopped else error
            settle = future.set_exception
        with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
            loop.call_soon_threadsafe(settle, outcome)

    threading.Thread(target=run, name="channels-health", daemon=True).start()
    return future


def _call(function: Callable[[], Any]) -> Any:
    try:
        result = function()
        if iscoroutine(result):
            result.close()
            raise CheckFailed("returned a coroutine; make the check a coroutine function")
        return result
    finally:
        connections.close_all()  # this thread's, that is


def _retrieve(future: "asyncio.Future[Any]") -> None:
    """Retrieve the error of an attempt that ended too late, so that asyncio does not complain."""
    if not future.cancelled():
        future.exception()


def describe(error: BaseException) -> str:
    """An error in one short line, without credentials."""
    text = str(error)
    for database in settings.DATABASES.values():
        password = database.get("PASSWORD")
        if password:
            text = text.replace(str(password), "***")
    text = " ".join(map(_without_credentials, text.split()))
    text = printable(_SECRETS.sub(r"\1***", text))
    if isinstance(error, CheckFailed) and text:
        return text
    return f"{type(error).__name__}: {text}" if text else type(error).__name__


def _without_credentials(word: str) -> str:
    """A word, without what stands between ``//`` and the last ``@`` in it."""
    start, end = word.find("//"), word.rfind("@")
    return f"{word[:start]}//***{word[end:]}" if 0 <= start < end - 1 else word

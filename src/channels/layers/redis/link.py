"""Commands to one server: pipelined, in order, over one connection that repairs itself.

What is called in one turn of the event loop travels together, and what is called while that is
under way travels next. So a burst of callers costs one round trip and one connection, and the
server sees one process's commands in the order in which they were called.

When the connection breaks, what has not been answered is sent again over the next one. Nobody can
know whether the server carried it out, so a command must be one that may be repeated: it sets
something to a value, or it is a script that remembers the sender's last sequence number. What may
not be repeated is called so, and ends as :class:`Unconfirmed`.
"""

import asyncio
import contextlib
import itertools
import logging
import math
import random
import time
from collections import deque
from dataclasses import dataclass
from typing import Any

from redis import exceptions as redis_errors

from ...exceptions import BrokerError, BrokerUnavailable, ChannelsError, Unconfirmed
from .packing import pack
from .scripts import SCRIPTS, Script
from .servers import Connection, Server

__all__ = [
    "BrokerError",
    "BrokerUnavailable",
    "Link",
    "Unconfirmed",
    "backoff",
    "explain",
    "forget",
    "heed_move",
    "is_transient",
]

logger = logging.getLogger("channels.layers")

# Seconds for which a call is repeated before its caller gets an error. Longer than a broker takes
# to restart or to fail over.
PATIENCE = 30.0

# Commands that may wait. Beyond it the broker is called unavailable at once.
MAX_WAITING = 10_000

# Seconds for which what waits may still be sent when the link is closed.
_CLOSING_PATIENCE = 2.0

# Seconds that an event loop may take to end after its tasks were cancelled.
_LAST_SECONDS = 1.0

# Commands in one pipeline.
_BATCH = 500

# Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (M. Brooker, AWS
# Architecture Blog, 2015), in seconds.
_BACKOFF_BASE, _BACKOFF_CAP = 0.05, 1.0

# Seconds between attempts while a cluster moves slots.
_MOVING_PAUSE = 0.05

# What a script says when keys that it works out itself are being moved. None of ours has changed
# anything before it has looked at all of them.
_MOVING = ("access a non local key", "during rehashing of the slot")

# Refusals that redis-py has no class for; Redis before 7 wraps those that end a script.
_TRANSIENT = ("MASTERDOWN", "NOREPLICAS", "UNBLOCKED", "-READONLY", *_MOVING)


def backoff(attempt: int) -> float:
    """Seconds to wait before attempt number ``attempt``, from 1."""
    ceiling: float = min(_BACKOFF_CAP, _BACKOFF_BASE * 2 ** min(attempt - 1, 10))
    return random.uniform(0, ceiling)  # noqa: S311 - spreads load, hides nothing


def is_transient(error: BaseException) -> bool:
    """Whether a server that answered so may answer otherwise in a moment."""
    if isinstance(error, redis_errors.ResponseError):
        return isinstance(
            error,
            redis_errors.AskError  # MOVED too
            | redis_errors.TryAgainError
            | redis_errors.ClusterDownError
            | redis_errors.ReadOnlyError,
        ) or any(words in str(error) for words in _TRANSIENT)
    return isinstance(
        error,
        redis_errors.ConnectionError | redis_errors.TimeoutError | OSError | TimeoutError,
    ) and not isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)


def heed_move(server: Server, error: BaseException) -> None:
    """Let ``server`` know, if ``error`` says so, that its keys are at another node now."""
    if isinstance(error, redis_errors.MovedError):
        server.moved(error.host, error.port)


def _is_moving(error: Exception) -> bool:
    """Whether the keys are on their way to another node, and nothing can be done but wait."""
    if isinstance(error, redis_errors.MovedError):  # they have arrived
        return False
    return isinstance(error, redis_errors.AskError | redis_errors.TryAgainError) or any(
        words in str(error) for words in _MOVING
    )


@dataclass(slots=True, eq=False)
class _Call:
    command: tuple[Any, ...]
    script: Script | None
    future: "asyncio.Future[Any]"
    deadline: float
    repeat: bool
    # Where in the command its number belongs, or 0 if it takes none.
    number_at: int
    # The number under which the server may have carried it out, or 0.
    number: int = 0


class Link:
    """One connection to one server. Belongs to the event loop on which it was made."""

    def __init__(self, server: Server, *, patience: float = PATIENCE) -> None:
        self._server = server
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[_Call] = deque()
        # How many of those the server may have got already.
        self._written = 0
        self._numbers = itertools.count(1)
        self._connection: Connection | None = None
        self._more: asyncio.Future[None] | None = None
        self._closing = False
        self._cancelled = -math.inf
        self._task: asyncio.Task[None] | None = None

    # Calls

    def run(
        self,
        name: str,
        keys: list[str],
        arguments: list[Any],
        *,
        repeat: bool = True,
        numbered: bool = False,
    ) -> "asyncio.Future[Any]":
        """Have a script run; the future gets its answer.

        A ``numbered`` one is given, before its other arguments, a number that is greater than that
        of any numbered script which the server may have run before it, and which it keeps when it
        is repeated because nobody knows whether it ran.
        """
        script = SCRIPTS[name]
        command = ("EVALSHA", script.sha, len(keys), *keys, *arguments)
        return self._enqueue(command, script, repeat, 3 + len(keys) if numbered else 0)

    def call(self, *command: Any, repeat: bool = True) -> "asyncio.Future[Any]":
        """Have a command carried out; the future gets its answer."""
        return self._enqueue(command, None, repeat)

    def _enqueue(
        self, command: tuple[Any, ...], script: Script | None, repeat: bool, number_at: int = 0
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        # Whoever cancels everything is about to close the event loop, as a rule. Should it go on,
        # so does the link.
        closed = self._closing or time.monotonic() - self._cancelled < _LAST_SECONDS
        if closed or len(self._waiting) >= MAX_WAITING:
            why = "closed" if closed else f"behind by {MAX_WAITING} commands"
            future.set_exception(BrokerUnavailable(f"The connection to the broker is {why}"))
            return future
        deadline = time.monotonic() + self._patience
        self._waiting.append(_Call(command, script, future, deadline, repeat, number_at))
        if self._task is None or self._task.done():
            self._task = self._loop.create_task(self._work())
        else:
            self._wake()
        return future

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    # Work

    async def _work(self) -> None:
        """Send what waits; disconnect when the link is closed, or its event loop ends."""
        try:
            await self._send_all()
        except asyncio.CancelledError:
            self._cancelled = time.monotonic()
            raise
        finally:
            await self._disconnect()

    async def _send_all(self) -> None:
        """Send what waits, until there is nothing and the link is closed."""
        attempt = 0
        while True:
            if not self._waiting:
                if self._closing:
                    return
                self._more = self._loop.create_future()
                await self._more
                continue
            try:
                await self._send_batch()
                attempt = 0
            except Exception as error:  # noqa: BLE001 - every failure ends in a retry or a future
                await self._disconnect()
                self._fail_unconfirmed(error)
                self._give_up(error)
                if self._waiting:
                    attempt += 1
                    if attempt == 3:  # a restart of the broker is worth a line, a hiccup is not
                        logger.warning("The broker does not answer (%s); still trying", error)
                    await asyncio.sleep(backoff(attempt))

    async def _send_batch(self) -> None:
        if self._connection is not None and _has_ended(self._connection):
            await self._disconnect()  # it broke while nothing was under way, so nothing was lost
        connection = self._connection
        if connection is None:
            async with asyncio.timeout(self._server.response_timeout * 2):
                connection = self._connection = await self._server.connect()
        batch = list(itertools.islice(self._waiting, _BATCH))
        commands = pack(connection, [self._numbered(call) for call in batch])
        self._written = len(batch)
        answers: list[Any] = []
        try:
            async with asyncio.timeout(self._server.response_timeout):
                await connection.send_packed_command(commands, check_health=False)
                for _ in batch:
                    try:
                        answers.append(await connection.read_response())
                    except redis_errors.ResponseError as error:
                        answers.append(error)
        finally:
            refusals = self._settle(batch, answers)
        await self._heed(refusals)

    def _numbered(self, call: _Call) -> tuple[Any, ...]:
        """The command to send."""
        if not call.number_at:
            return call.command
        call.number = call.number or next(self._numbers)
        return (*call.command[: call.number_at], call.number, *call.command[call.number_at :])

    def _settle(self, batch: list[_Call], answers: list[Any]) -> list[Exception]:
        """Give each call its answer; those without one, and those to be repeated, wait again.

        A call that was refused gets a new number, since the server may have carried out later
        ones. So it comes after those that keep theirs, which are without an answer.

        Returns:
            Why calls were refused that are to be repeated.
        """
        for _ in batch:
            self._waiting.popleft()
        again = batch[len(answers) :]
        self._written = len(again)
        refusals: list[Exception] = []
        for call, answer in zip(batch, answers, strict=False):
            if isinstance(answer, redis_errors.NoScriptError) or (
                isinstance(answer, Exception) and is_transient(answer)
            ):
                call.number = 0
                again.append(call)
                refusals.append(answer)
            elif not call.future.done():
                if isinstance(answer, Exception):
                    call.future.set_exception(explain(answer))
                else:
                    call.future.set_result(answer)
        self._waiting.extendleft(reversed(again))
        return refusals

    async def _heed(self, refusals: list[Exception]) -> None:
        """Do what gives the next attempt a chance; raise if that needs another connection."""
        others = [e for e in refusals if not isinstance(e, redis_errors.NoScriptError)]
        for error in others:
            heed_move(self._server, error)
            if not _is_moving(error):
                raise error
        if others:
            await asyncio.sleep(_MOVING_PAUSE)
            self._expire(others[0])
        elif refusals:
            await self._load_scripts()

    async def _load_scripts(self) -> None:
        """Teach the server the scripts it has forgotten, or never knew."""
        connection = self._connection
        if connection is None:
            return
        commands = [("SCRIPT", "LOAD", script.source) for script in SCRIPTS.values()]
        async with asyncio.timeout(self._server.response_timeout):
            await connection.send_packed_command(
                connection.pack_commands(commands), check_health=False
            )
            for _ in commands:
                await connection.read_response()

    def _fail_unconfirmed(self, error: Exception) -> None:
        """End the calls that the server may have carried out and that may not be repeated."""
        written, self._written = self._written, 0
        again: list[_Call] = []
        for call in [self._waiting.popleft() for _ in range(written)]:
            if call.repeat:
                again.append(call)
            elif not call.future.done():
                failure = Unconfirmed(f"The connection broke before the broker answered: {error}")
                failure.__cause__ = error
                call.future.set_exception(failure)
        self._waiting.extendleft(reversed(again))

    def _give_up(self, error: Exception) -> None:
        """Fail the calls that have waited too long, or all if trying again cannot help."""
        if is_transient(error):
            self._expire(error)
            return
        while self._waiting:
            call = self._waiting.popleft()
            if not call.future.done():
                call.future.set_exception(explain(error))

    def _expire(self, error: Exception | None = None) -> None:
        now = time.monotonic()
        while self._waiting and (self._closing or self._waiting[0].deadline <= now):
            call = self._waiting.popleft()
            if not call.future.done():
                reason = f": {error}" if error else ""
                failure = BrokerUnavailable(
                    f"The broker did not answer for {self._patience:g} seconds{reason}"
                )
                failure.__cause__ = error
                call.future.set_exception(failure)

    # The end

    async def _disconnect(self) -> None:
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

    async def aclose(self) -> None:
        """Finish what waits, if the server answers, and disconnect."""
        self._closing = True
        task, self._task = self._task, None
        if task is not None:
            self._wake()
            _, late = await asyncio.wait((task,), timeout=_CLOSING_PATIENCE)
            for unfinished in late:
                unfinished.cancel()
                await asyncio.wait((unfinished,), timeout=1)
        self._expire()
        await self._disconnect()

    def abandon(self) -> None:
        """Let go without an event loop, which has been closed."""
        self._closing = True
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                connection._close()  # type: ignore[no-untyped-call]


def _has_ended(connection: Connection) -> bool:
    """Whether the server is known to have closed a connection, of which redis-py does not tell."""
    reader = connection._reader
    return reader is None or reader.at_eof() or reader.exception() is not None


def forget(future: "asyncio.Future[Any]") -> None:
    """Let a call fail unheard, as one may whose purpose an expiry or a lease serves as well."""
    if not future.cancelled():
        future.exception()


def explain(error: Exception) -> Exception:
    """What the caller is told when ``error`` ended a call."""
    # Redis 6 wraps what goes wrong in a script.
    if isinstance(error, redis_errors.OutOfMemoryError) or "OOM command" in str(error):
        return BrokerError(
            "The broker is out of memory (maxmemory) and takes no more messages; give it more, or "
            f"send less: {error}"
        )
    if (
        isinstance(error, redis_errors.AuthenticationError | redis_errors.AuthorizationError)
        or "unauthenticated" in str(error)  # what a long command is answered before signing in
    ):
        return BrokerError(f"The broker refused the credentials: {error}")
    if isinstance(error, ChannelsError):
        return error
    return BrokerError(f"The broker refused a command: {error}")

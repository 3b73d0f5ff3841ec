"""Reading a named channel, each message of which goes to exactly one caller.

Callers of one event loop wait in line. Their broker is read for as long as somebody waits, over one
connection after the other. What was handed out for a caller that has given up is kept for the next
one, and after a while given back. A subclass knows the broker.
"""

import asyncio
import contextlib
from abc import ABC, abstractmethod
from collections import deque
from collections.abc import Callable
from typing import Generic, Protocol, TypeVar

from ..._runtime import backstage, timers
from ...exceptions import BrokerUnavailable
from .reconnecting import Reconnector

__all__ = ["NamedReader"]

# Seconds without a caller after which nothing is kept of a channel, and after which messages are
# given back.
IDLE, HOLD = 30.0, 1.0

# Seconds for a read to end, once it may and once it must.
_CLOSING, _CANCELLING = 1.0, 1.0

M = TypeVar("M")
_M = TypeVar("_M", covariant=True)


class _Held(Protocol[_M]):
    """Messages that the broker has handed out, in order; such as a deque."""

    def __len__(self) -> int:
        """How many there are."""

    def popleft(self) -> _M:
        """Take the first."""


class Explain(Protocol):
    """Makes an error that tells callers what is wrong."""

    def __call__(self, error: Exception, what: str = ..., /) -> Exception:
        """An error for ``error``, with which the broker answered ``what``."""


class NamedReader(ABC, Generic[M]):
    """The callers of one event loop that wait for messages of one named channel.

    Args:
        name: where the connection leads, for the log.
        channel: the channel's name.
        is_transient: whether an error may pass by itself, as a broken connection does.
        explain: an error that tells callers of one that does not.
        held: what the broker has handed out, and no caller has.
    """

    def __init__(
        self,
        name: str,
        channel: str,
        is_transient: Callable[[Exception], bool],
        explain: Explain,
        held: _Held[M],
    ) -> None:
        self._is_transient, self._explain = is_transient, explain
        self._reconnector = Reconnector(
            name, f"receiving from channel {channel}", is_transient, explain
        )
        self._held = held
        self._callers: deque[asyncio.Future[M]] = deque()
        self._wanted = asyncio.Event()
        self._closing = False
        self._task: asyncio.Task[None] | None = None
        #: How many calls of :meth:`next` are under way.
        self.callers = 0

    # For subclasses to implement

    @abstractmethod
    async def read(self) -> bool:
        """Connect, and read while somebody waits (see :meth:`want`).

        Calls :meth:`serve` when something was handed out.

        Returns:
            Whether to connect anew at once.

        Raises:
            Exception: why the connection is of no use any more.
        """

    @abstractmethod
    async def take(self, message: M) -> bool:
        """Make sure that nobody else gets a message; whether it is the caller's.

        It is kept (see :meth:`keep`) if the caller is cancelled meanwhile.
        """

    @abstractmethod
    def hold_again(self, message: M) -> None:
        """Hold a message that its caller does not want, for the next one."""

    @abstractmethod
    async def give_back(self) -> None:
        """Let others have what is held."""

    @abstractmethod
    async def give_back_all(self) -> None:
        """Let others have what is held, since nothing is read here any more."""

    @abstractmethod
    def caller_left(self) -> None:
        """A caller has given up; perhaps nobody waits any more."""

    @abstractmethod
    def interrupt(self) -> None:
        """Let a read that waits for messages end."""

    def examined(self, error: Exception) -> Exception:
        """What is raised in place of what went wrong."""
        return error

    # Callers

    async def next(self) -> M:
        """The next message; giving up the wait loses nothing.

        Raises:
            BrokerUnavailable: the layer was closed.
            BrokerError: the broker refuses to hand out messages.
        """
        self.callers += 1
        try:
            while True:
                message = self._held.popleft() if self._held else await self._wait_in_line()
                if await self.take(message):
                    return message
        finally:
            self.callers -= 1

    async def _wait_in_line(self) -> M:
        caller: asyncio.Future[M] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = backstage.start(self._reconnector.run(self._try_to_read))
        try:
            return await caller
        except asyncio.CancelledError:
            if not caller.cancelled() and caller.done() and caller.exception() is None:
                self.keep(caller.result())  # it came as the caller was cancelled
            else:
                with contextlib.suppress(ValueError):
                    self._callers.remove(caller)
                self.caller_left()
            raise

    def keep(self, message: M) -> None:
        """Keep a message for the next caller, since the one that was to have it has gone."""
        self.hold_again(message)
        self.serve()
        self._wanted.set()

    def serve(self) -> None:
        """Give what is held to those who wait."""
        while self._held and self._callers:
            caller = self._callers.popleft()
            if not caller.done():
                caller.set_result(self._held.popleft())

    def _fail(self, error: Exception) -> None:
        """Tell those who wait why nothing will come."""
        callers, self._callers = self._callers, deque()
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)

    def is_wanted(self) -> bool:
        """Whether anybody waits for a message."""
        return bool(self._callers)

    # Reading

    async def _try_to_read(self) -> bool:
        """Read as long as callers come; whether another connection is needed."""
        if not await self.want():
            return False
        try:
            return await self.read()
        except Exception as error:
            error = self.examined(error)
            if not self._is_transient(error):
                self._fail(self._explain(error, "to hand out messages"))
            raise error

    async def want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        while not self._callers:
            if self._closing:
                return False
            self._wanted.clear()
            try:
                async with timers.timeout(HOLD if self._held else IDLE):
                    await self._wanted.wait()
            except TimeoutError:
                if not self._held:
                    return bool(self._callers)  # one may have come in this very turn
                await self.give_back()
        return True

    # The end

    async def aclose(self) -> None:
        """Stop, and give back what was handed out but not received."""
        self._closing = True
        self._fail(BrokerUnavailable("The layer has been closed"))
        self._wanted.set()
        self.interrupt()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait((task,), timeout=_CLOSING)
            task.cancel()
            await asyncio.wait((task,), timeout=_CANCELLING)
            await self.give_back_all()

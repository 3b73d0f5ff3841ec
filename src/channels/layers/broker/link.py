"""Calls to a broker, one after another, over a connection that is made again when it breaks."""

import asyncio
from abc import ABC, abstractmethod
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any, Generic, TypeVar

from ..._runtime import backstage, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable, ChannelsError, Unconfirmed
from .receiver import PATIENCE
from .reconnecting import backoff

__all__ = ["Link"]

C = TypeVar("C")
_T = TypeVar("_T")

# Seconds for which one answer is awaited.
_RESPONSE = 10.0


class Link(ABC, Generic[C]):
    """What one event loop asks of a broker; see :class:`PerLoop`. A subclass knows how to connect.

    Calls are made in the order in which they were asked for, also when some are repeated.

    Args:
        is_transient: whether an error may pass by itself, as a broken connection does.
        explain: an error that tells callers of one that does not.
    """

    def __init__(
        self, is_transient: Callable[[Exception], bool], explain: Callable[[Exception], Exception]
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_transient, self._explain = is_transient, explain
        self._turn = asyncio.Lock()
        self._connection: C | None = None
        # Ends with the event loop, and closes the connection then.
        self._life: asyncio.Task[None] | None = None
        self._tasks: set[asyncio.Task[Any]] = set()

    # For subclasses to implement

    @abstractmethod
    async def connect(self) -> C:
        """A new connection."""

    @abstractmethod
    def is_open(self, connection: C) -> bool:
        """Whether the connection can still be used, as far as is known here. An error says no."""

    @abstractmethod
    def close(self, connection: C) -> None:
        """Close a connection at once, also when its event loop has ended. Perhaps not once only."""

    # Calls

    async def call(self, work: Callable[[C], Awaitable[_T]], *, repeat: bool = True) -> _T:
        """Await ``work`` with the connection; to its end, even if the caller is cancelled.

        Args:
            work: one question to the broker, and its answer.
            repeat: whether it may be done twice.

        Raises:
            Unconfirmed: the connection broke meanwhile, so that it may have been done.
            BrokerUnavailable: the broker could not be reached.
            BrokerError: the broker refused.
        """
        return await asyncio.shield(self.start(self._call(work, repeat)))

    def start(self, work: Coroutine[Any, Any, _T]) -> "asyncio.Task[_T]":
        """Do something to its end, before the connection is closed. To be awaited shielded."""
        task = self._loop.create_task(work)
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)
        task.add_done_callback(backstage.ignore_failure)  # the caller may have been cancelled
        return task

    async def _call(self, work: Callable[[C], Awaitable[_T]], repeat: bool) -> _T:
        began, failures = now(), 0
        async with self._turn:
            while True:
                begun = False
                try:
                    async with timers.timeout(_RESPONSE):
                        connection = await self._connected()
                        begun = True
                        return await work(connection)
                except Exception as error:
                    if isinstance(error, ChannelsError):
                        raise
                    if not (isinstance(error, OSError) or self._is_transient(error)):
                        raise self._explain(error) from error
                    self._close()
                    if begun and not repeat:
                        raise Unconfirmed(
                            f"The broker has not confirmed a call: {error}"
                        ) from error
                    if now() - began > PATIENCE:
                        raise BrokerUnavailable(f"The broker does not answer: {error}") from error
                failures += 1
                await timers.sleep(backoff(failures))

    async def _connected(self) -> C:
        if self._connection is not None and not self.is_open(self._connection):
            self._close()
        if self._connection is None:
            self._connection = connection = await self.connect()
            self._life = backstage.start(self._live(connection))
        return self._connection

    async def _live(self, connection: C) -> None:
        try:
            await self._loop.create_future()
        finally:
            self.close(connection)

    def _close(self) -> None:
        self.abandon()
        life, self._life = self._life, None
        if life is not None:
            life.cancel()

    # The end

    async def finish(self) -> None:
        """Wait for what is under way."""
        while self._tasks:
            await asyncio.wait(self._tasks)

    async def rest(self) -> None:
        """Close the connection, unless something is under way. The next call makes a new one."""
        if not self._tasks:
            self._close()

    async def aclose(self) -> None:
        """Finish what is under way, and close the connection."""
        await self.finish()
        self._close()

    def abandon(self) -> None:
        """Close the connection of an event loop that has ended."""
        connection, self._connection = self._connection, None
        if connection is not None:
            self.close(connection)

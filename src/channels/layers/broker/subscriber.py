"""Staying connected to a broker that pushes, over one connection after the other.

What is the same however a broker pushes: the connection is made again whenever it breaks, callers
wait for it or learn why they wait in vain, consumers are told once of what they may have missed,
and one event loop hands over to the next.
"""

import asyncio
import contextlib
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable
from typing import Generic, Self, TypeVar

from ..._runtime import backstage, lograte, timers
from ..._runtime.clock import now
from ..._runtime.loops import running_loop
from ...exceptions import BrokerUnavailable
from .backpressure import Backpressure
from .receiver import patiently
from .reconnecting import Reconnector

__all__ = ["Subscriber", "not_handed_on"]

logger = logging.getLogger("channels.layers")

# Seconds for what was sent to be handed on before the end, and to disconnect.
_LEAVING = 2.0

_MOVED = "the event loop that received has ended"

C = TypeVar("C")


class Subscriber(ABC, Generic[C]):
    """Receives from one server; a :class:`~.broadcasting.BroadcastReader` for subclasses.

    Belongs to the event loop on which it was made.

    Args:
        name: where the connection leads, for the log.
        is_transient: whether an error may pass by itself, as a broken connection does.
        explain: an error that tells callers of one that does not.
        lost: called with the reason when what is sent to this process is lost from now on.
        restored: called with the same reason when it arrives again.
        connecting: seconds to connect in.
    """

    def __init__(
        self,
        name: str,
        is_transient: Callable[[Exception], bool],
        explain: Callable[[Exception], Exception],
        lost: Callable[[str], object],
        restored: Callable[[str], object],
        connecting: float,
    ) -> None:
        self._loop = asyncio.get_running_loop()
        self._is_transient, self._explain = is_transient, explain
        self._tell_lost, self._tell_restored = lost, restored
        self._connecting = connecting
        self._reconnector = Reconnector(name, "receiving", is_transient, explain)
        #: Whether everything that is sent to this process arrives.
        self.up = False
        self._up: asyncio.Future[None] = self._loop.create_future()
        # Whether it ever did, which is when callers wait for it no more.
        self._was_up = False
        self._withdrawn = self._wound_down = False
        # Why messages may have been lost, until consumers are told.
        self._gap: str | None = None
        self._down_since = now()
        self._backpressure = Backpressure()
        self._task: asyncio.Task[None] | None = None

    # For subclasses to implement

    @abstractmethod
    async def connect(self) -> C:
        """A new connection."""

    @abstractmethod
    async def use(self, connection: C) -> None:
        """Let others find this process, call :meth:`works`, and hand on what comes.

        Raises:
            Exception: why the connection is of no use any more.
        """

    def disconnected(self) -> None:
        """Nothing comes over this connection any more, so that nothing is to be waited for."""

    @abstractmethod
    async def disconnect(self, connection: C) -> None:
        """Close a connection, which may be broken. Errors are ignored."""

    @abstractmethod
    async def register(self) -> None:
        """Let others find this process again after :meth:`withdraw`."""

    @abstractmethod
    async def withdraw(self) -> None:
        """Let others find out that they cannot send to this process any more."""

    @abstractmethod
    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was sent before has been handed on, or is known to be lost.

        Others wait for it, too: it is to be shielded.
        """

    def examined(self, error: Exception) -> Exception:
        """What is raised in place of what went wrong."""
        return error

    # See broker.receiver.Reader

    def start(self) -> None:
        """Connect, and stay connected."""
        self._task = backstage.start(self._reconnector.run(self._listen))

    def is_ready(self) -> bool:
        """Whether this process could be found, if perhaps over another connection."""
        return self._was_up and not self._withdrawn

    async def be_ready(self) -> None:
        """Wait until this process can be found; no longer if it ever could.

        Raises:
            BrokerUnavailable: the server could not be reached.
            BrokerError: it refused.
        """
        self._wound_down = False
        if not self._was_up:
            await asyncio.shield(self._up)
        if not self.is_ready():
            await self.register()
            self._withdrawn = False

    def resume_from(self, former: Self) -> None:
        """Take over from another event loop: what is sent until it is done is lost."""
        if not former._wound_down:
            self._gap = _MOVED
            self._loop.call_soon(lambda: self._tell_lost(_MOVED))

    async def wind_down(self) -> bool:
        """Withdraw, and hand on what has been sent."""
        self._withdrawn = True
        with contextlib.suppress(Exception):
            async with timers.timeout(_LEAVING):
                await self.withdraw()
        _, late = await asyncio.wait((self.barrier(),), timeout=_LEAVING)
        self._wound_down = not late
        return self._wound_down

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._tell_lost = self._tell_restored = _tell_nobody
        self._backpressure.stop()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._task.cancel()

    async def stop(self) -> None:
        """Disconnect. What waits for the connection gets an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_LEAVING)
        self._fail_waiting(BrokerUnavailable("The layer has been closed"))

    # See broker.broadcasting.BroadcastReader

    def hurry(self) -> None:
        """Hand on at once what has come, whether there is room for it or not."""
        self._backpressure.hurry()

    async def wait_until_up(self) -> None:
        """Wait for the connection to be repaired, if it is broken.

        Raises:
            BrokerUnavailable: it was not.
        """
        if not self.up:
            await patiently(asyncio.shield(self._up))

    # The connection

    async def _listen(self) -> bool:
        """Connect, and receive until the connection breaks."""
        self._withdrawn = False  # whoever connects can be found
        connection: C | None = None
        try:
            async with timers.timeout(self._connecting):
                connection = await self.connect()
            await self.use(connection)
        except Exception as error:
            error = self.examined(error)
            self._lost(f"the connection to the broker broke: {str(error) or type(error).__name__}")
            if not self._is_transient(error):
                self._fail_waiting(self._explain(error))
                self._up = self._loop.create_future()  # later callers wait for the next attempt
            raise error
        finally:
            self._go_down()
            if connection is not None:
                await self._let_go(connection)
        return True  # pragma: no cover - a connection ends with an error

    def works(self) -> None:
        """Everything that is sent to this process from now on arrives."""
        self.up = self._was_up = True
        self._wound_down = False
        self._up.set_result(None)
        self._reconnector.works()
        self._backpressure.note_delay(now() - self._down_since)
        gap, self._gap = self._gap, None
        if gap is not None:
            said = "What the broker published may have been lost: %s"
            lograte.log(logger, logging.WARNING, "gap", said, gap)
            self._tell_restored(gap)

    def _lost(self, reason: str) -> None:
        was_up = self.up
        self._go_down()
        if was_up:
            self._gap = reason
            self._tell_lost(reason)

    def _go_down(self) -> None:
        self.disconnected()
        self._backpressure.stop()
        if self.up:
            self.up, self._up = False, self._loop.create_future()
            self._down_since = now()

    def _fail_waiting(self, error: Exception) -> None:
        """Tell callers that wait for the connection why they wait in vain."""
        if not self._up.done():
            self._up.set_exception(error)
            self._up.exception()  # there may be no caller

    async def _let_go(self, connection: C) -> None:
        if running_loop() is not self._loop:  # it has ended, and nothing can be awaited
            await self._disconnect(connection)
        else:
            await _in_peace(self._loop.create_task(self._disconnect(connection)))

    async def _disconnect(self, connection: C) -> None:
        with contextlib.suppress(Exception):
            async with timers.timeout(_LEAVING):
                await self.disconnect(connection)


def not_handed_on(error: Exception) -> None:
    """Tell the log of a message that could not be handed on; what follows it is."""
    said = "A message could not be handed on"
    lograte.log(logger, logging.ERROR, "published", said, exc_info=error)


def _tell_nobody(reason: str) -> None:
    """What a subscriber tells that was abandoned."""


async def _in_peace(task: "asyncio.Task[None]") -> None:
    """Await a task to its end, however often that is cancelled, as it is at the end of a loop."""
    cancelled = False
    while not task.done():
        try:
            await asyncio.wait((task,))
        except asyncio.CancelledError:
            cancelled = True
    if cancelled:
        raise asyncio.CancelledError

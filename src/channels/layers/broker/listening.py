"""Listening to a broker that pushes, over one connection after the other.

What is the same for every broker: the connection is made again whenever it breaks, consumers are
told once of what they may have missed, full mailboxes are waited for, and one event loop hands
over to the next. A subclass knows how to connect, and how to get what has come.
"""

import asyncio
import contextlib
import itertools
import logging
from abc import ABC, abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, Generic, Self, TypeVar

from ..._runtime import backstage, lograte, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable, ChannelsError, InvalidNameError
from .background import Background
from .backpressure import Backpressure
from .broadcasting import NOTHING, Broadcasting
from .receiver import patiently
from .reconnecting import Reconnector

__all__ = ["Listener"]

logger = logging.getLogger("channels.layers")

# Seconds to connect in, and for what was sent to be handed on before the end.
_CONNECTING, _LEAVING = 10.0, 2.0

# Seconds for which one call waits for what comes.
_WAIT = 2.0

_MOVED = "the event loop that received has ended"


C = TypeVar("C")


class Listener(ABC, Generic[C]):
    """Listens to one server; a :class:`~.broadcasting.BroadcastReader` for a subclass to complete.

    Belongs to the event loop on which it was made.

    Args:
        transport: gets what comes.
        name: where the connection leads, for the log.
        is_transient: whether an error may pass by itself, as a broken connection does.
        explain: an error that tells callers of one that does not.
    """

    def __init__(
        self,
        transport: Broadcasting[Any],
        name: str,
        is_transient: Callable[[Exception], bool],
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._transport: Broadcasting[Any] | None = transport
        self._loop = asyncio.get_running_loop()
        self._is_transient, self._explain = is_transient, explain
        self._reconnector = Reconnector(name, "receiving", self._passes, self._told)
        #: Whether everything that is sent to this process arrives.
        self.up = False
        self._up: asyncio.Future[None] = self._loop.create_future()
        # Whether it ever did, which is when callers wait for it no more.
        self._was_up = False
        self._withdrawn = self._wound_down = False
        # Why messages may have been lost, until consumers are told.
        self._gap: str | None = None
        self._down_since = now()
        self._barriers: dict[bytes, asyncio.Future[None]] = {}
        self._numbers = itertools.count(1)
        self._backpressure = Backpressure()
        self._background = Background()
        self._task: asyncio.Task[None] | None = None

    # For subclasses to implement

    @abstractmethod
    async def connect(self) -> C:
        """A connection over which all that is sent to this process from now on arrives."""

    @abstractmethod
    async def register(self) -> None:
        """Let others find this process, and the groups that it has members in.

        Called after :meth:`connect`, and for the same connection again after :meth:`withdraw`.
        """

    @abstractmethod
    async def withdraw(self) -> None:
        """Let others find out that they cannot send to this process any more."""

    @abstractmethod
    async def receive(self, connection: C, seconds: float) -> Iterable[bytes]:
        """What has come, in order; wait for it, but no longer than ``seconds``.

        Raises:
            Exception: the connection has broken. It is to be found out also if nothing comes.
        """

    @abstractmethod
    async def disconnect(self, connection: C) -> None:
        """Close a connection, which may be broken. Errors are ignored."""

    @abstractmethod
    async def echo(self, entry: bytes) -> None:
        """Send to this process, behind all that was sent to it before."""

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
            BrokerError: the server refuses.
        """
        if self._withdrawn:
            await self.register()
            self._withdrawn = self._wound_down = False
        if not self._was_up:
            await asyncio.shield(self._up)

    def resume_from(self, former: Self) -> None:
        """Take over from another event loop: what is sent until it is done is lost."""
        if not former._wound_down:
            self._gap = _MOVED
            if self._transport is not None:
                self._loop.call_soon(self._transport.lost, _MOVED)

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
        self._transport = None
        self._backpressure.stop()
        if self._task is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                self._task.cancel()

    async def stop(self) -> None:
        """Disconnect. What waits for the connection gets an error."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.wait((self._task,), timeout=_LEAVING)
        self._background.cancel()
        self._fail_waiting(BrokerUnavailable("The layer has been closed"))

    # See broker.broadcasting.BroadcastReader

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was sent before has been handed on, or is known to be lost.

        Others wait for it, too: it is to be shielded.
        """
        if not self.up:
            return self._up
        token = b"%b%d" % (NOTHING, next(self._numbers))
        self._barriers[token] = barrier = self._loop.create_future()
        self._background.start(self._mark(token))
        return barrier

    async def _mark(self, token: bytes) -> None:
        try:
            await self.echo(token)
        except Exception as error:  # noqa: BLE001 - what waits goes on
            said = "Nothing can be sent to this process: %s"
            lograte.log(logger, logging.DEBUG, "mark", said, error)
            self._settle(token)

    def _settle(self, token: bytes) -> None:
        barrier = self._barriers.pop(token, None)
        if barrier is not None and not barrier.done():
            barrier.set_result(None)

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
        """Listen over a connection, until it breaks."""
        try:
            async with timers.timeout(_CONNECTING):
                connection = await self.connect()
            await self._use(connection)
        except Exception as error:
            self._lost(f"the connection to the broker broke: {str(error) or type(error).__name__}")
            if not self._passes(error):
                self._fail_waiting(self._told(error))
                self._up = self._loop.create_future()  # later callers wait for the next attempt
            raise
        return True  # pragma: no cover - a connection ends with an error

    async def _use(self, connection: C) -> None:
        try:
            async with timers.timeout(_CONNECTING):
                await self.register()
            self._restored()
            while True:
                await self._hand_on_next(connection)
        finally:
            for token in list(self._barriers):
                self._settle(token)
            self._backpressure.stop()
            if self._loop.is_closed():  # there is nothing that could be awaited
                await self._disconnect(connection)
            else:
                await _in_peace(self._loop.create_task(self._disconnect(connection)))

    async def _disconnect(self, connection: C) -> None:
        with contextlib.suppress(Exception):
            async with timers.timeout(_LEAVING):
                await self.disconnect(connection)

    def _passes(self, error: Exception) -> bool:
        return isinstance(error, OSError) or self._is_transient(error)

    def _told(self, error: Exception) -> Exception:
        return error if isinstance(error, ChannelsError) else self._explain(error)

    def _restored(self) -> None:
        self.up = self._was_up = True
        self._withdrawn = self._wound_down = False
        self._up.set_result(None)
        self._reconnector.works()
        self._backpressure.note_delay(now() - self._down_since)
        gap, self._gap = self._gap, None
        if gap is not None and self._transport is not None:
            logger.warning("What the broker published may have been lost: %s", gap)
            self._transport.restored(gap)

    def _lost(self, reason: str) -> None:
        if self.up:
            self.up, self._up = False, self._loop.create_future()
            self._down_since, self._gap = now(), reason
            if self._transport is not None:
                self._transport.lost(reason)

    def _fail_waiting(self, error: Exception) -> None:
        """Tell callers that wait for the connection why they wait in vain."""
        if not self._up.done():
            self._up.set_exception(error)
            self._up.exception()  # there may be no caller

    # What comes

    async def _hand_on_next(self, connection: C) -> None:
        began = now()
        entries = await self.receive(connection, _WAIT)
        # What comes so late was held up, with this event loop or at the server.
        self._backpressure.note_delay(now() - began - _WAIT)
        for entry in entries:
            if entry.startswith(NOTHING):
                self._settle(entry)
            elif self._transport is not None:
                await self._hand_on(self._transport, entry)
        if self._backpressure.catching_up:
            self._backpressure.rest()

    async def _hand_on(self, transport: Broadcasting[Any], entry: bytes) -> None:
        """Hand on one entry, and wait for room if that is worth it."""
        try:
            late = transport.received(entry, self._backpressure.seconds)
        except (UnicodeDecodeError, InvalidNameError):
            transport.drop_rubbish()
            return
        except Exception as error:  # noqa: BLE001 - what follows is handed on
            lograte.log(
                logger, logging.ERROR, "published", "A message could not be handed on",
                exc_info=error,
            )  # fmt: skip
            return
        if late is not None:
            room: asyncio.Future[None] = self._loop.create_future()
            if self._backpressure.wait(late, partial(room.set_result, None)):
                await room


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

"""Listening to a broker that pushes, for a subclass that knows how to connect and what has come."""

import asyncio
from abc import abstractmethod
from collections.abc import Callable, Iterable
from functools import partial
from typing import Any, TypeVar

from ..._runtime import timers
from ..._runtime.clock import now
from ...exceptions import ChannelsError, InvalidNameError
from .broadcasting import NOTHING, Broadcasting
from .marks import Marks
from .subscriber import Subscriber, not_handed_on

__all__ = ["Listener"]

# Seconds to connect in, and to be found then.
_CONNECTING = 10.0

# Seconds for which one call waits for what comes.
_WAIT = 2.0


C = TypeVar("C")


class Listener(Subscriber[C]):
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
        def passes(error: Exception) -> bool:
            return isinstance(error, OSError) or is_transient(error)

        def explained(error: Exception) -> Exception:
            return error if isinstance(error, ChannelsError) else explain(error)

        super().__init__(
            name, passes, explained, transport.lost, transport.restored, _CONNECTING
        )  # fmt: skip
        self._transport: Broadcasting[Any] | None = transport
        self._marks = Marks()

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
    async def receive(self, connection: C, seconds: float) -> Iterable[bytes]:
        """What has come, in order; wait for it, but no longer than ``seconds``.

        Raises:
            Exception: the connection has broken. It is to be found out also if nothing comes.
        """

    @abstractmethod
    async def echo(self, entry: bytes) -> None:
        """Send to this process, behind all that was sent to it before."""

    # See Subscriber

    def barrier(self) -> "asyncio.Future[None]":
        """Done when all that was sent before has been handed on, or is known to be lost.

        Others wait for it, too: it is to be shielded.
        """
        return self._marks.send(self.echo) if self.up else self._up

    def abandon(self) -> None:
        """Hand on nothing any more. For event loops that do not run, and perhaps never will."""
        self._transport = None
        super().abandon()

    async def stop(self) -> None:
        """Disconnect. What waits for the connection gets an error."""
        await super().stop()
        self._marks.cancel()

    def disconnected(self) -> None:
        """No mark comes any more."""
        self._marks.settle_all()

    async def use(self, connection: C) -> None:
        """Register, and hand on what comes."""
        async with timers.timeout(_CONNECTING):
            await self.register()
        self.works()
        while True:
            await self._hand_on_next(connection)

    # What comes

    async def _hand_on_next(self, connection: C) -> None:
        began = now()
        entries = await self.receive(connection, _WAIT)
        # What comes so late was held up, with this event loop or at the server.
        self._backpressure.note_delay(now() - began - _WAIT)
        for entry in entries:
            if entry.startswith(NOTHING):
                self._marks.settle(entry)
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
            not_handed_on(error)
            return
        if late is not None:
            room: asyncio.Future[None] = self._loop.create_future()
            if self._backpressure.wait(late, partial(room.set_result, None)):
                await room

"""The connections that one event loop serves for its server."""

import asyncio
from collections.abc import Callable
from typing import Any, Protocol

from . import clock, timers
from .pending_sends import PendingSends
from .per_loop import PerLoop
from .termination import Termination
from .turns import Turns
from .types import Consumer, Scope

__all__ = ["Connections", "Drainable", "connections", "when_first"]

#: Called on an event loop when the first of its connections begins, and when one begins after all
#: others have ended.
when_first: list[Callable[[], None]] = []

# Seconds between two looks at the sends that wait. The precision of `send_timeout`.
_LOOK = 0.5


class Drainable(Protocol):
    """A connection that can be asked to come to its end."""

    @property
    def consumer(self) -> Consumer | None:
        """The consumer that serves it; None if it is the stream of a view."""

    @property
    def scope(self) -> Scope:
        """Its scope, with what the consumer has changed in it."""

    @property
    def channel_name(self) -> str | None:
        """The name of its channel; None if there is no layer, or not yet."""

    @property
    def opened_at(self) -> float | None:
        """When the consumer was given its first event (:func:`.clock.now`); None before that."""

    def unsent(self) -> int | None:
        """Bytes that are kept for the client, which has not acknowledged them; None if unknown."""

    def disconnect(self, code: int, reason: str) -> "asyncio.Task[Any] | None":
        """Begin to end because its user may not go on. Returns the task to keep, or None."""

    @property
    def is_event_stream(self) -> bool:
        """Whether it is a stream of events, which may end anywhere and never ends by itself."""

    def drain(self) -> "asyncio.Task[Any] | None":
        """Begin to end. Returns the task to keep until it is done, or None."""


class Connections:
    """Every connection of one event loop that a server made and that has not ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._waiter: asyncio.Future[None] | None = None
        #: For the next look at ``pending_sends``; None soon after the last connection has ended.
        self.timer: timers.Timer | None = None
        #: Their sends that wait for clients.
        self.pending_sends = PendingSends()
        #: Which of their handlers have created tasks.
        self.turns = Turns(self._loop)
        self.open: set[Drainable] = set()
        #: Called with each connection that has ended, by what keeps anything of it.
        self.forgetting: list[Callable[[Drainable], None]] = []
        #: What ends streams of events, until it is done.
        self.ending: set[asyncio.Task[Any]] = set()
        #: Whether the process has been told to end.
        self.draining = False
        #: Whether new WebSockets are to be refused: they would be closed at once.
        self.refusing = False
        #: How the process learns that it is to end; None until ``draining.prepare()`` has set it.
        self.termination: Termination | None = None

    def add(self, connection: Drainable) -> None:
        """A connection begins."""
        is_first = not self.open
        self.open.add(connection)
        if self.timer is None:
            self.timer = timers.Timer(_LOOK, self._look)
        if is_first:
            for callback in when_first:
                callback()

    def discard(self, connection: Drainable) -> None:
        """A connection has ended, and left nothing behind."""
        self.open.discard(connection)
        for forget in self.forgetting:
            forget(connection)
        if not self.open and self._waiter is not None:
            self._waiter.set_result(None)
            self._waiter = None

    async def ended(self, within: float) -> bool:
        """Wait ``within`` seconds for all connections to end. Returns whether they have."""
        if self.open:
            if self._waiter is None:
                self._waiter = self._loop.create_future()
            # Others may have begun by the time that this goes on.
            return bool((await asyncio.wait((self._waiter,), timeout=within))[0])
        return True

    def abandon(self) -> None:
        """The event loop has been closed."""
        if self.termination is not None:
            self.termination.disarm()

    def _look(self) -> None:
        self.pending_sends.look(clock.now())
        self.timer = timers.Timer(_LOOK, self._look) if self.open else None


#: Those of the running event loop.
connections = PerLoop(Connections)

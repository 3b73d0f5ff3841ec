"""The connections that one event loop serves for its server, and what they are sending."""

import asyncio
import logging
from collections.abc import Awaitable
from typing import Any, Protocol

from . import clock, timers
from .per_loop import PerLoop
from .termination import Termination
from .turns import Turns
from .types import Consumer

__all__ = ["Connections", "Drainable", "Writer", "Writes", "connections"]

logger = logging.getLogger("channels.consumer")

# Seconds between looks at what is being sent. The precision of `send_timeout`.
_LOOK = 0.5


class Writer(Protocol):
    """Who sends."""

    @property
    def send_timeout(self) -> float | None:
        """Seconds that a send may wait without getting on; None for as long as it likes."""

    @property
    def consumer(self) -> Consumer:
        """Whose it is."""

    def taken(self) -> int | None:
        """A figure that grows while the client takes what it is sent, if there is one."""

    def give_up(
        self,
        sending: Awaitable[None],
        task: "asyncio.Task[Any] | None",
        seconds: float,
        hint: str = ...,
    ) -> None:
        """Called when it has taken longer, or with a ``hint`` why that was too long."""


class Drainable(Protocol):
    """A connection that can be asked to come to its end."""

    def drain(self) -> "asyncio.Task[Any] | None":
        """Begin to end; returns what has to be kept until it is done."""


class Writes:
    """Sends that are under way, and who has waited too long for one.

    A timer for each send would cost more than the send. One look at all of them, twice a second,
    costs nothing while clients read: few sends wait at all.
    """

    def __init__(self) -> None:
        #: By what is awaited: who sends, and the task that waits.
        self.under_way: dict[Awaitable[None], tuple[Writer, asyncio.Task[Any] | None]] = {}
        # Since when they have not got on, and how much had been taken then.
        self._since: dict[Awaitable[None], tuple[float, int | None]] = {}

    def look(self, now: float) -> None:
        """Have those who have waited too long give up."""
        since: dict[Awaitable[None], tuple[float, int | None]] = {}
        for sending, (writer, task) in list(self.under_way.items()):
            try:
                started, before = self._since.get(sending, (now, None))
                taken = writer.taken()
                if before is not None and taken is not None and taken > before:
                    started = now  # slow, but the client reads
                since[sending] = started, taken
                timeout = writer.send_timeout
                if timeout is not None and now - started >= timeout:
                    writer.give_up(sending, task, now - started)
            except Exception:  # one must not keep the others from being looked at
                logger.exception("A client that does not read could not be let go of")
        self._since = since

    def let_go_of_all(self) -> None:
        """Have every WebSocket whose client is still waited for give up: the process ends."""
        now = clock.now()
        for sending, (writer, task) in list(self.under_way.items()):
            try:
                if writer.consumer.scope["type"] == "websocket":
                    since = self._since.get(sending, (now, None))[0]
                    writer.give_up(sending, task, now - since, "this process ends")
            except Exception:  # one must not keep the others connected
                logger.exception("A client that does not read could not be let go of")

    def let_go_of_one(self, consumers: "set[int]") -> None:
        """Have the one give up that has not got on for longest.

        Args:
            consumers: the identities of those that may be chosen.
        """
        now = clock.now()
        chosen = [
            (self._since.get(sending, (now, None))[0], sending, writer, task)
            for sending, (writer, task) in self.under_way.items()
            if id(writer.consumer) in consumers
        ]
        if chosen:
            started, sending, writer, task = min(chosen, key=lambda found: found[0])
            hint = "too many handlers of sync consumers wait for clients, each in a thread"
            writer.give_up(sending, task, now - started, hint)


class Connections:
    """Every connection of one event loop that a server made and that has not ended."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._timer: timers.Timer | None = None
        self._waiter: asyncio.Future[None] | None = None
        self.writes = Writes()
        #: Which of their handlers have created tasks.
        self.turns = Turns(self._loop)
        self.open: set[Drainable] = set()
        #: Whether the process has been told to end.
        self.draining = False
        #: Whether new WebSockets are to be refused: they would be closed at once.
        self.refusing = False
        #: How the process learns that it is to end, when that has been seen to.
        self.termination: Termination | None = None

    def add(self, connection: Drainable) -> None:
        """A connection begins."""
        self.open.add(connection)
        if self._timer is None:
            self._timer = timers.Timer(_LOOK, self._look)

    def discard(self, connection: Drainable) -> None:
        """A connection has ended, and left nothing behind."""
        self.open.discard(connection)
        if not self.open and self._waiter is not None:
            if not self._waiter.done():
                self._waiter.set_result(None)
            self._waiter = None

    async def ended(self, within: float) -> bool:
        """Wait until all connections have ended, ``within`` seconds; whether they have."""
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
        self.writes.look(clock.now())
        self._timer = timers.Timer(_LOOK, self._look) if self.open else None


#: Those of the running event loop.
connections = PerLoop(Connections)

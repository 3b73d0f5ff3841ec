"""Sends that wait for their clients, and clients that have waited too long with reading.

A timer for each send would cost more than the send. One look at all of them, twice a second, costs
nothing while clients read: few sends wait at all.
"""

import asyncio
import logging
from collections.abc import Awaitable, Collection
from typing import Any, Protocol

from . import clock
from .types import Consumer

__all__ = ["PendingSend", "PendingSends", "Sender"]

logger = logging.getLogger("channels.consumer")


class Sender(Protocol):
    """What sends to one client."""

    @property
    def send_timeout(self) -> float | None:
        """Seconds for which the client may read nothing; None for any time."""

    @property
    def consumer(self) -> Consumer:
        """The consumer that sends."""

    def taken(self) -> int | None:
        """A figure that grows while the client reads, or None where there is none."""

    def give_up(
        self,
        sending: Awaitable[None],
        task: "asyncio.Task[Any] | None",
        seconds: float,
        hint: str = ...,
    ) -> None:
        """Disconnect the client, which has read nothing for ``seconds``.

        Args:
            sending: the send that waits.
            task: the task that waits for it.
            seconds: how long it has waited.
            hint: for the log, why that is too long.
        """


class PendingSend:
    """One send that waits.

    Args:
        sender: what sends.
        task: the task that waits for it; None where the server has tasks of another kind.
    """

    __slots__ = ("_since", "_taken", "sender", "task")

    def __init__(self, sender: Sender, task: "asyncio.Task[Any] | None") -> None:
        self.sender = sender
        self.task = task
        # When the client was last seen to read, or this send was first looked at.
        self._since: float | None = None
        self._taken: int | None = None  # the sender's figure, when it was last known

    def look(self, now: float) -> None:
        """Notice whether the client has read since the last look."""
        taken = self.sender.taken()
        # With the first figure the client may just have read: nothing was known before.
        has_read = taken is not None and (self._taken is None or taken > self._taken)
        if self._since is None or has_read:
            self._since = now
        if taken is not None:
            self._taken = taken

    def waited(self, now: float) -> float:
        """Seconds since the client was last seen to read; 0 before the first look."""
        return 0.0 if self._since is None else now - self._since


class PendingSends(dict[Awaitable[None], PendingSend]):
    """All sends of one event loop that wait, by what is awaited."""

    def look(self, now: float) -> None:
        """Disconnect the clients that have read nothing for their ``send_timeout``."""
        for sending, pending in list(self.items()):
            try:
                pending.look(now)
                timeout = pending.sender.send_timeout
                if timeout is not None and pending.waited(now) >= timeout:
                    pending.sender.give_up(sending, pending.task, pending.waited(now))
            except Exception:  # one must not keep the others from being looked at
                logger.exception("A client that does not read could not be disconnected")

    def disconnect_websockets(self) -> None:
        """Disconnect all WebSockets that have a send here, because the process ends."""
        now = clock.now()
        for sending, pending in list(self.items()):
            try:
                sender = pending.sender
                if sender.consumer.scope["type"] == "websocket":
                    sender.give_up(sending, pending.task, pending.waited(now), "this process ends")
            except Exception:  # one must not keep the others connected
                logger.exception("A client that does not read could not be disconnected")

    def disconnect_slowest(self, consumers: Collection[int]) -> None:
        """Disconnect the client that has read nothing for longest.

        Args:
            consumers: the identities (``id()``) of the consumers to choose from.
        """
        now = clock.now()
        chosen = [
            (pending.waited(now), sending, pending)
            for sending, pending in self.items()
            if id(pending.sender.consumer) in consumers
        ]
        if chosen:
            waited, sending, pending = max(chosen, key=lambda found: found[0])
            hint = "too many handlers of sync consumers wait for clients, each in a thread"
            pending.sender.give_up(sending, pending.task, waited, hint)

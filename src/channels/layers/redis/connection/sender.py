"""What one event loop sends: over one connection to the server of each partition."""

import asyncio
import contextlib
import uuid

from ...._runtime import timers
from ..keys import sender_key
from .commands import CommandConnection
from .membership_changes import MembershipChanges
from .servers import Server

__all__ = ["Sender"]

# Seconds for which memberships may still begin and end when the connections are closed.
_CLOSING_PATIENCE = 2.0


class Sender:
    """The connections of the running event loop.

    Args:
        servers: one for each partition.
        bases: what all keys of a partition begin with.

    Attributes:
        connections: for each partition.
        membership_changes: what is to change there in groups.
    """

    def __init__(self, servers: list[Server], bases: list[str]) -> None:
        name = uuid.uuid4().hex[:16]
        self.connections = [
            CommandConnection(server, sender_key(base, name))
            for server, base in zip(servers, bases, strict=True)
        ]
        self.membership_changes = [MembershipChanges(connection) for connection in self.connections]

    def abandon(self) -> None:
        """Disconnect without the event loop, which has been closed."""
        for connection in self.connections:
            connection.abandon()

    async def rest(self) -> None:
        """Let go of connections over which nothing is under way; calls make new ones."""
        await asyncio.gather(*(connection.rest() for connection in self.connections))

    async def aclose(self) -> None:
        """Finish what is under way and disconnect."""
        with contextlib.suppress(TimeoutError):
            async with timers.timeout(_CLOSING_PATIENCE):
                await asyncio.gather(*(changes.finish() for changes in self.membership_changes))
        await asyncio.gather(*(connection.aclose() for connection in self.connections))

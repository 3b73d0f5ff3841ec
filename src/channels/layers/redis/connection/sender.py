"""What one event loop sends: a link to each server, and the numbers that make repeats harmless."""

import asyncio
import contextlib
import uuid
from typing import Any

from ...._runtime import timers
from ..keys import sender_key
from .commands import CommandConnection
from .hosts import Server
from .membership_changes import MembershipChanges

__all__ = ["Sender"]

# Milliseconds for which a server remembers a sender's last number after its last message. Longer
# than any call is repeated.
SENDER_LEASE = 120_000

# Seconds for which memberships may still begin and end when the links are closed.
_CLOSING_PATIENCE = 2.0


class Sender:
    """The links of the running event loop.

    Each script that appends something is given the next number of this sender, and the server
    ignores a number that it has seen. Calls on one link stay in order, so the last number of each
    link is all that it need remember.
    """

    def __init__(self, servers: list[Server], bases: list[str]) -> None:
        self.links = [CommandConnection(server) for server in servers]
        #: Of memberships, on each server.
        self.changes = [MembershipChanges(link) for link in self.links]
        name = uuid.uuid4().hex[:16]
        self._keys = [sender_key(base, name) for base in bases]

    def append(
        self, partition: int, script: str, keys: list[str], *arguments: Any
    ) -> "asyncio.Future[Any]":
        """Have a script that appends run, exactly once; the future gets its answer."""
        return self.links[partition].run(
            script, [*keys, self._keys[partition]], [SENDER_LEASE, *arguments], numbered=True
        )

    def abandon(self) -> None:
        """Let go of the connections of an event loop that has been closed."""
        for link in self.links:
            link.abandon()

    async def rest(self) -> None:
        """Let go of connections over which nothing is under way; calls make new ones."""
        await asyncio.gather(*(link.rest() for link in self.links))

    async def aclose(self) -> None:
        """Finish what is under way and disconnect."""
        with contextlib.suppress(TimeoutError):
            async with timers.timeout(_CLOSING_PATIENCE):
                await asyncio.gather(*(changes.finish() for changes in self.changes))
        await asyncio.gather(*(link.aclose() for link in self.links))

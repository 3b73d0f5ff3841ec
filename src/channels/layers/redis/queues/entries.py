"""What a queue has handed out to a reader, and what becomes of it: taken, kept or given back.

A server may hand the same entry to several readers. A reader removes an entry from the queue before
a caller gets it, and only one reader can remove it. So no message is handled twice.
"""

import asyncio
import math
from collections import deque
from collections.abc import Callable
from typing import Any, TypeVar

from ...._runtime.backstage import ignore_failure
from ...._runtime.clock import now
from ..connection.commands import CommandConnection
from ..keys import FIELD_SENT, READERS, queue_expiry_key
from ..partitions import milliseconds

__all__ = ["Entries", "Entry"]

_T = TypeVar("_T")

# More messages than any queue holds: what goes back into it is let in, even if it is full.
_ANY = 2**40

# Entries remembered as taken, for when a server hands one out again.
_REMEMBERED = 1000


class Entry:
    """A message that the server has handed out here.

    Args:
        entry_id: its name in the queue.
        fields: what the server keeps of it.
        since: no earlier than this, on the clock :func:`now`, was it sent, as far as is known.
    """

    __slots__ = ("data", "id", "sent", "since", "ticket")

    def __init__(self, entry_id: bytes, fields: list[bytes], since: float) -> None:
        self.id = entry_id
        self.data = fields[1]
        #: When it was sent, by the server's clock, in milliseconds.
        moved = len(fields) == 4 and fields[2] == FIELD_SENT and fields[3].isdigit()
        self.sent = fields[3] if moved else entry_id.partition(b"-")[0]
        self.since = since
        #: Says whether it is ours, once that has been asked: 1, 0 or -1, as the script ``take``.
        self.ticket: asyncio.Future[int] | None = None


class Entries:
    """The entries of one queue that one reader was handed.

    Args:
        commands: takes and gives back, on the running event loop.
        queue: the queue's key.
        reader: the name of the reader, for the server.
        expiry: seconds after which a message is not delivered any more, unless a sender's is
            longer.
        count_expired: is told how many messages were found to have expired.
    """

    def __init__(
        self,
        commands: CommandConnection,
        queue: str,
        reader: str,
        expiry: float,
        count_expired: Callable[[int], None],
    ) -> None:
        self._commands = commands
        self._queue = queue
        #: The queue, and what says how long its messages live; see the script ``enqueue``.
        self.keys = [queue, queue_expiry_key(queue)]
        self._reader = reader
        self._expiry = expiry
        #: What scripts are told of the expiry, in milliseconds.
        self.limit = milliseconds(expiry)
        self._count_expired = count_expired
        self._held: deque[Entry] = deque()
        #: Entries that callers are about to have, by their names.
        self.tickets: dict[bytes, Entry] = {}
        # What callers had of late, oldest first. The server may not know of it, or not any more:
        # one that is killed may forget what it has answered just before.
        self._taken: dict[bytes, None] = {}
        self._returning: set[asyncio.Future[Any]] = set()

    def __len__(self) -> int:
        return len(self._held)

    def popleft(self) -> Entry:
        """The first entry that is held for a caller."""
        return self._held.popleft()

    def hold(self, entries: list[Any], since: float = -math.inf) -> None:
        """Hold entries that the server has handed out, unless they are known.

        Args:
            entries: as the server has answered.
            since: no earlier than this were they sent, on the clock :func:`now`.
        """
        before = len(self._held)
        known = self.tickets.keys() | {entry.id for entry in self._held}
        for entry_id, fields in entries:
            if not fields or entry_id in self._taken:  # it was trimmed, or a caller has it
                self._remove(entry_id)
            elif entry_id not in known:
                self._held.append(Entry(entry_id, fields, since))
        if before:
            self._put_in_order()

    def keep(self, entry: Entry) -> None:
        """Hold an entry again that a caller was to have and does not want any more."""
        self._held.appendleft(entry)
        if len(self._held) > 1:
            self._put_in_order()

    def _put_in_order(self) -> None:
        """Let what is held be in the order of the queue, however callers gave up.

        The script ``give_back`` goes back to before the first.
        """
        self._held = deque(sorted(self._held, key=lambda entry: _order(entry.id)))

    # Taking

    async def take(self, entry: Entry) -> bool:
        """Remove an entry from the queue, so that nobody else can have it.

        Returns:
            False if another reader has removed it, or it has expired.
        """
        if entry.ticket is None:
            entry.ticket = ticket = self._ask_for(entry)
            self.tickets[entry.id] = entry
            ticket.add_done_callback(lambda _: self._settle(entry.id, ticket))
        return await asyncio.shield(entry.ticket) > 0

    def _ask_for(self, entry: Entry) -> "asyncio.Future[int]":
        fresh = now() - entry.since < self._expiry  # whatever the server's clock says
        limit = 0 if fresh else self.limit
        return self._commands.append("take", self.keys, READERS, entry.id, entry.sent, limit)

    def _settle(self, entry_id: bytes, ticket: "asyncio.Future[int]") -> None:
        """Take note of whether an entry is ours."""
        self.tickets.pop(entry_id, None)
        if ticket.cancelled() or ticket.exception():
            return  # it stays with the server, which hands it out again
        if ticket.result() < 0:
            self._count_expired(1)
        if ticket.result():
            self._taken[entry_id] = None
            if len(self._taken) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]

    def _remove(self, entry_id: bytes) -> None:
        """Let the server forget an entry that is of no use to anybody."""
        for command in (("XDEL", self._queue, entry_id), ("XACK", self._queue, READERS, entry_id)):
            self._commands.call(*command).add_done_callback(ignore_failure)

    # Giving back

    def give_back(self, *, leave: bool) -> "list[asyncio.Future[None]]":
        """Give back to the queue what was handed out here and no caller wants.

        Args:
            leave: the reader ends, so the server forgets it and gives back all.

        Returns:
            What is to be waited for before the connection is closed, which waits for the rest.
        """
        held, self._held = self._held, deque()
        handed_out = [entry.id for entry in held if entry.ticket is None]
        arguments = [READERS, self._reader, int(leave), *([] if leave else handed_out)]
        self._return(self._commands.run("give_back", [self._queue], arguments))
        taken = [entry for entry in held if entry.ticket is not None]
        return [self._return(asyncio.ensure_future(self._put_back(entry))) for entry in taken]

    def _return(self, future: "asyncio.Future[_T]") -> "asyncio.Future[_T]":
        """Keep what goes back until it has."""
        self._returning.add(future)
        future.add_done_callback(self._returned)
        return future

    async def _put_back(self, entry: Entry) -> None:
        """Put a message into the queue again that no caller was there to have."""
        if entry.ticket is not None and await entry.ticket > 0:
            arguments = entry.data, _ANY, self.limit, entry.sent
            await self._commands.append("enqueue", self.keys, *arguments)

    def _returned(self, future: "asyncio.Future[Any]") -> None:
        self._returning.discard(future)
        ignore_failure(future)

    async def returned(self, patience: float) -> None:
        """Wait until all has been given back, for ``patience`` seconds at most."""
        if self._returning:
            await asyncio.wait(self._returning, timeout=patience)


def _order(entry_id: bytes) -> tuple[int, int]:
    """IDs of entries compare as pairs of numbers."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)

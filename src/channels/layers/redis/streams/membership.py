"""The groups of which this process is a member on the servers, for its channels in them."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable
from typing import Any

from ...._runtime.loops import PerLoop
from ..connection.errors import forget
from ..connection.sender import Sender
from ..keys import consistent_hash, group_key, process_member

__all__ = ["Membership"]


class Membership:
    """What a process joins and leaves: a group has it once, however many channels are in there.

    Joining and leaving are for the event loop that reads the inbox, so that the server sees both
    in the order in which they were asked for: it all travels over one connection.

    Args:
        process: the name of this process.
        bases: of all keys, on each server.
        lease: milliseconds for which a membership outlives the last sign of life.
        senders: the connections of each event loop.
        has_members: whether a group has members in this process.
    """

    def __init__(
        self,
        process: str,
        bases: list[str],
        lease: int,
        senders: PerLoop[Sender],
        has_members: Callable[[str], bool],
    ) -> None:
        self._member = process_member(process)
        self._bases = bases
        self._lease = lease
        self._senders = senders
        self._has_members = has_members
        # The groups that the process is a member of; a future while it is about to be.
        self._joined: dict[str, asyncio.Future[Any] | None] = {}
        # Those that the last member here has left, for the process to leave too.
        self._emptied: deque[str] = deque()

    def _change(self, group: str, lease: int) -> "asyncio.Future[None]":
        """Have the server that has a group make the process a member of it, or no member."""
        partition = consistent_hash(group, len(self._bases))
        key = group_key(self._bases[partition], group)
        return self._senders.get().membership_changes[partition].make(key, self._member, lease)

    def keys(self, partition: int) -> list[str]:
        """The keys of the groups that the process is, or is about to be, a member of."""
        bases = self._bases
        return [
            group_key(bases[partition], group)
            for group in list(self._joined)
            if consistent_hash(group, len(bases)) == partition
        ]

    def still(self, partition: int, keys: Iterable[str]) -> list[str]:
        """Those of :meth:`keys` that have not been left since."""
        start = len(group_key(self._bases[partition], ""))
        return [key for key in keys if key[start:] in self._joined]

    def forgotten(self, partition: int, keys: Iterable[bytes]) -> set[str]:
        """Those of these groups, by their keys, of which the process was a member to its knowledge.

        It need not know yet of one that the process is about to join.
        """
        start = len(group_key(self._bases[partition], ""))
        groups = {key.decode("ascii")[start:] for key in keys}
        joined = self._joined
        return {group for group in groups if group in joined and joined[group] is None}

    async def join(self, group: str) -> None:
        """Make this process a member, unless it is one, and wait until it is."""
        self.start_joining(group)
        pending = self._joined[group]
        if pending is not None:
            await asyncio.shield(pending)

    def start_joining(self, group: str) -> None:
        """Make this process a member, unless it is one or is about to be."""
        if group in self._joined:
            return

        def settle(pending: "asyncio.Future[Any]") -> None:
            failed = pending.cancelled() or pending.exception()
            if self._joined.get(group) is pending:
                if failed:
                    del self._joined[group]
                else:
                    self._joined[group] = None

        self._joined[group] = pending = self._change(group, self._lease)
        pending.add_done_callback(settle)

    def take_over(self) -> None:
        """Another event loop reads the inbox, and registers with all :meth:`keys` at first.

        So what the one before was about to join is joined then.
        """
        self._joined = dict.fromkeys(self._joined)

    def emptied(self, group: str) -> bool:
        """The last member here has left a group: to be left with the others, in any thread.

        Returns:
            Whether it is the first one that is to be left.
        """
        self._emptied.append(group)
        return len(self._emptied) == 1

    def leave_emptied(self) -> "list[asyncio.Future[Any]]":
        """End the membership of groups that nobody here is in any more; what to wait for."""
        left: list[asyncio.Future[Any]] = []
        emptied = self._emptied
        while emptied:
            group = emptied.popleft()
            if group in self._joined and not self._has_members(group):
                del self._joined[group]
                left.append(self._leave(group))
        return left

    def _leave(self, group: str) -> "asyncio.Future[Any]":
        future = self._change(group, 0)
        future.add_done_callback(forget)
        return future

    def leave_all(self) -> None:
        """Leave every group. Closing the connections waits for it; a lease does the same, later."""
        groups = list(self._joined)
        self.clear()
        for group in groups:
            self._leave(group)

    def clear(self) -> None:
        """Forget all, without a word to the servers."""
        self._joined.clear()
        self._emptied.clear()

"""The groups that this process is a member of at the broker, for its channels in them."""

import asyncio
from collections import deque
from collections.abc import Awaitable, Callable, Iterable, Iterator
from typing import TypeAlias

from ..._runtime.backstage import ignore_failure
from ...exceptions import BrokerUnavailable
from .process import ProcessChannels

__all__ = ["Memberships"]

_Pending: TypeAlias = "asyncio.Future[object]"


class Memberships:
    """The groups a process joins and leaves, once for each group, however many channels are in it.

    All but :meth:`emptied` is for the event loop that receives, so that the broker sees joins and
    leaves in the order in which they were asked for.

    Args:
        local: the channels of this process.
        call_soon: lets something be called on the event loop that receives, if there is one.
        join: makes the process a member of a group; awaited once for each group.
        leave: ends that; what it returns, if anything, is awaited by callers that leave a group.
        catch_up: awaited before one more channel joins a group that the process is a member of,
            so that the channel receives nothing of what was sent before.
    """

    def __init__(
        self,
        local: ProcessChannels,
        call_soon: Callable[[Callable[[], object]], None],
        join: Callable[[str], Awaitable[object]],
        leave: Callable[[str], Awaitable[object] | None],
        catch_up: Callable[[str], Awaitable[object]] | None = None,
    ) -> None:
        self._local = local
        self._call_soon = call_soon
        self._join = join
        self._leave = leave
        self._catch_up = catch_up
        # The groups that the process is a member of; a future while it is about to be.
        self._joined: dict[str, _Pending | None] = {}
        # How many channels are about to be in a group.
        self._joining: dict[str, int] = {}
        # Groups that have no members here any more, and whether leave_emptied() will be called.
        self._emptied: deque[str] = deque()
        self._called = False
        # How often everything has been left for good.
        self._ends = 0

    def __iter__(self) -> Iterator[str]:
        """The groups that the process is, or is about to be, a member of."""
        return iter(list(self._joined))

    def __contains__(self, group: str) -> bool:
        return group in self._joined

    def __len__(self) -> int:
        return len(self._joined)

    # Joining

    async def join(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group, so that it receives what is sent to the group.

        Raises:
            BrokerUnavailable: the layer has been closed meanwhile, or what ``join`` raises.
        """
        joining, ends = self._joining, self._ends
        joining[group] = joining.get(group, 0) + 1
        try:
            while not (group in self._joined and self._local.is_member(group, channel)):
                pending = self.start_joining(group)
                if pending is not None:
                    await asyncio.shield(pending)
                elif self._catch_up is not None:
                    await asyncio.shield(self._catch_up(group))
                if self._ends != ends:
                    raise BrokerUnavailable("The layer has been closed")
                if group in self._joined:  # and was not forgotten
                    break
            self._local.join(group, channel)
        finally:
            joining[group] -= 1
            if not joining[group]:
                del joining[group]
            if not self._is_wanted(group):
                self.emptied(group)

    def start_joining(self, group: str) -> "_Pending | None":
        """Make the process a member, unless it is one or is about to be.

        Returns:
            What to wait for; None if the process is a member.
        """
        if group in self._joined:
            return self._joined[group]

        def settle(pending: _Pending) -> None:
            failed = pending.cancelled() or pending.exception()
            if self._joined.get(group) is pending:
                if failed:  # though it may have been done
                    del self._joined[group]
                    self._leave_at_broker(group)
                else:
                    self._joined[group] = None

        self._joined[group] = pending = asyncio.ensure_future(self._join(group))
        pending.add_done_callback(settle)
        return pending

    def take_over(self) -> None:
        """Another event loop is about to receive, and to join all these groups by itself.

        So what the one before was about to join is joined then, and what it was told to leave is
        left.
        """
        self._joined = dict.fromkeys(self._joined)
        self._joining = {}
        self._called = True
        asyncio.get_running_loop().call_soon(self.leave_emptied)

    # Leaving

    async def part(self, group: str, channel: str) -> None:
        """Remove a channel of this process from a group.

        Raises:
            BrokerError: the process could not leave the group.
        """
        self._local.part(group, channel)
        leaving = self.leave_emptied()
        if leaving:  # even if the caller gives up
            await asyncio.wait(leaving)
        for left in leaving:
            left.result()

    def emptied(self, group: str) -> None:
        """The last member here has left a group: to be left with the others, in any thread."""
        self._emptied.append(group)
        if not self._called:
            self._called = True
            self._call_soon(self.leave_emptied)

    def leave_emptied(self) -> list[_Pending]:
        """End the membership of groups that nobody here is in any more; what to wait for."""
        self._called = False
        emptied, left = self._emptied, []
        while emptied:
            group = emptied.popleft()
            if group in self._joined and not self._is_wanted(group):
                pending = self._joined.pop(group)
                if pending is not None:
                    pending.cancel()
                leaving = self._leave_at_broker(group)
                if leaving is not None:
                    left.append(leaving)
        return left

    def _is_wanted(self, group: str) -> bool:
        return group in self._joining or self._local.has_members(group)

    def _leave_at_broker(self, group: str) -> "_Pending | None":
        leaving = self._leave(group)
        if leaving is None:
            return None
        left: _Pending = asyncio.ensure_future(leaving)
        left.add_done_callback(ignore_failure)
        return left

    # The whole

    def forgotten(self, groups: Iterable[str]) -> set[str]:
        """Those of these groups of which the process was a member to its knowledge.

        The broker need not know yet of one that the process is about to join.
        """
        joined = self._joined
        return {group for group in groups if group in joined and joined[group] is None}

    def leave_all(self) -> None:
        """Leave every group for good; nobody waits for it."""
        self._ends += 1
        groups = list(self._joined)
        self.clear()
        for group in groups:
            self._leave_at_broker(group)

    def clear(self) -> None:
        """Forget all, without a word to the broker."""
        self._joined.clear()
        self._emptied.clear()

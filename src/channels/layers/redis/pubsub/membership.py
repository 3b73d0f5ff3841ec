"""The topics of groups that this process is subscribed to, for its channels in them."""

import asyncio
from collections import deque

from ...broker.process import ProcessChannels
from ...broker.receiver import Receiver
from ..keys import consistent_hash, group_topic
from .subscription import Subscription

__all__ = ["GroupTopics"]


class GroupTopics:
    """What a process subscribes to: the topic of each group in which it has channels.

    All but :meth:`emptied` is for the event loop that receives.

    Args:
        receiver: has the subscriptions of this process.
        bases: of all topics, on each server.
        here: the channels of this process, and who of them is in which group.
    """

    def __init__(
        self, receiver: Receiver[Subscription], bases: list[str], here: ProcessChannels
    ) -> None:
        self._receiver = receiver
        #: The groups with members here, by topic, for each server.
        self.names: list[dict[bytes, str]] = [{} for _ in bases]
        self._bases = bases
        self._here = here
        # Groups that have no members here any more.
        self._emptied: deque[str] = deque()

    def _find(self, group: str) -> tuple[int, bytes]:
        """The number of the server that has a group, and its topic there."""
        partition = consistent_hash(group, len(self._bases))
        return partition, group_topic(self._bases[partition], group).encode()

    async def join(self, group: str, channel: str) -> None:
        """Let a channel here have what is published to a group from now on."""
        partition, topic = self._find(group)
        subscription = self._receiver.readers[partition]
        try:
            # What was published before has been received when this is over. Meanwhile the last
            # other member may have left.
            while not subscription.has(topic) or not self._here.is_member(group, channel):
                self.names[partition][topic] = group
                await subscription.subscribe(topic)
                if subscription.has(topic):
                    break
        except BaseException:
            self.leave_if_empty(group)
            raise
        self._here.join(group, channel)

    async def part(self, group: str, channel: str) -> None:
        """Let it have nothing any more, but what was published before."""
        if self._receives_here():
            partition, _ = self._find(group)
            await self._receiver.readers[partition].barrier()
        self._here.part(group, channel)

    def emptied(self, group: str) -> None:
        """The last member here has left a group: to be left with the others, in any thread."""
        self._emptied.append(group)

    def leave_emptied(self) -> None:
        """End the subscriptions to groups that nobody here is in any more."""
        while self._emptied:
            self.leave_if_empty(self._emptied.popleft())

    def leave_if_empty(self, group: str) -> None:
        """End the subscription to a group, if nobody here is in it."""
        if not self._here.has_members(group):
            partition, topic = self._find(group)
            self.names[partition].pop(topic, None)
            if self._receives_here():
                self._receiver.readers[partition].unsubscribe(topic)

    def _receives_here(self) -> bool:
        return self._receiver.loop is asyncio.get_running_loop()

    def clear(self) -> None:
        """Forget everything, without a word to the servers."""
        self._emptied.clear()
        for names in self.names:
            names.clear()

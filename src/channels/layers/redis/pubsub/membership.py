"""The topics of groups that this process is subscribed to, for its channels in them."""

from collections import deque

from ...broker.process import ProcessChannels
from ..keys import consistent_hash, group_topic
from .receiver import Reception

__all__ = ["GroupTopics"]


class GroupTopics:
    """What a process subscribes to: the topic of each group in which it has channels.

    All but :meth:`emptied` is for the event loop that receives.

    Args:
        reception: the subscriptions of this process.
        bases: of all topics, on each server.
        here: the channels of this process, and who of them is in which group.
    """

    def __init__(self, reception: Reception, bases: list[str], here: ProcessChannels) -> None:
        self._reception = reception
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
        subscription = self._reception.subscriptions[partition]
        try:
            # What was published before has been received when this is over. Meanwhile the last
            # other member may have left.
            while not subscription.has(topic) or not self._here.is_member(group, channel):
                self._reception.groups[partition][topic] = group
                await subscription.subscribe(topic)
                if subscription.has(topic):
                    break
        except BaseException:
            self.leave_if_empty(group)
            raise
        self._here.join(group, channel)

    async def part(self, group: str, channel: str) -> None:
        """Let it have nothing any more, but what was published before."""
        partition, _ = self._find(group)
        await self._reception.subscriptions[partition].barrier()
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
        reception = self._reception
        if not self._here.has_members(group) and reception.subscriptions:
            partition, topic = self._find(group)
            reception.groups[partition].pop(topic, None)
            reception.subscriptions[partition].unsubscribe(topic)

    def clear(self) -> None:
        """Forget which groups are to be left."""
        self._emptied.clear()

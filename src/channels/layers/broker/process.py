"""The channels of this process and their groups, as a layer with a broker has them."""

from collections.abc import Callable, Collection
from typing import Any

from ..base import BaseChannelLayer
from ..local import LocalChannels
from ..mailbox import Mailbox
from ..statistics import Statistics

__all__ = ["Concerns", "ProcessChannels", "process_of"]

#: Given a channel and the groups it is in: whether a fault may have cost it a message.
Concerns = Callable[[str, Collection[str]], bool]


def process_of(channel: str) -> str | None:
    """The process that receives from a channel, or None for a named one: any process may."""
    head, mark, _ = channel.partition("!")
    return head.rpartition(".")[2] if mark else None


class ProcessChannels(LocalChannels):
    """Mailboxes and groups of this process, for what the broker brings to it.

    Args:
        statistics: of the layer.
        emptied: called with the name of a group that its last member in this process has left, in
            whichever thread that was, while the lock is held.
        layer: says which names are valid and how much a channel holds, since its subclasses may
            say so; by default what the options say.
        options: of the in-memory layer.
    """

    def __init__(
        self,
        statistics: Statistics,
        emptied: Callable[[str], None],
        layer: BaseChannelLayer | None = None,
        **options: Any,
    ) -> None:
        super().__init__(**options)
        self._layer = layer
        self.statistics = statistics
        self._emptied = emptied
        # Messages on their way to channels of this process, which take up their room already.
        self._in_flight: dict[str, int] = {}

    def has_mailbox(self, channel: str) -> bool:
        """Whether the channel has a mailbox: is read, or a member of a group, or holds messages."""
        return channel in self._mailboxes

    def get_capacity(self, channel: str) -> int:
        """How many messages ``channel`` holds."""
        layer = self._layer
        return super().get_capacity(channel) if layer is None else layer.get_capacity(channel)

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """True for a valid channel name; see :class:`BaseChannelLayer`."""
        require = super().require_valid_channel_name
        if self._layer is not None:
            require = self._layer.require_valid_channel_name
        return require(name, receive)

    # Groups

    def group_emptied(self, group: str) -> None:
        """The last member in this process has left the group."""
        self._emptied(group)

    def is_member(self, group: str, channel: str) -> bool:
        """Whether ``channel`` is in ``group``."""
        return channel in self._groups.get(group, ())

    def _left_unread(self, channel: str) -> None:
        """The channel stays a member: here memberships end by ``group_expiry`` and leases only."""

    def _vanish(self, mailbox: Mailbox) -> None:
        """A member of a group keeps its mailbox, which its next message needs again."""
        if mailbox.channel not in self._memberships:
            super()._vanish(mailbox)

    # Messages under way

    def reserve(self, channel: str, capacity: int) -> bool:
        """Reserve room for a message that is sent to a channel of this process.

        Returns:
            False if there is none: the channel holds as many as ``capacity`` with those under way.
        """
        with self.lock:
            mailbox = self._mailboxes.get(channel)
            flying = self._in_flight.get(channel, 0)
            if flying + (0 if mailbox is None else mailbox.qsize()) >= capacity:
                return False
            self._in_flight[channel] = flying + 1
        return True

    def release(self, channel: str) -> None:
        """A message to a channel of this process has arrived, or will not."""
        with self.lock:
            flying = self._in_flight.pop(channel, 0) - 1
            if flying > 0:
                self._in_flight[channel] = flying

    def release_all(self) -> None:
        """None of the messages under way to this process will arrive."""
        self._in_flight.clear()

    def drop(self, reason: str, name: str, count: int = 1) -> None:
        """Count messages that were lost before they reached a mailbox here.

        Args:
            reason: why, as the statistics have it.
            name: of the channel or group, or what else to name in the log.
            count: how many.
        """
        with self.lock:
            self.statistics.sent += count
            self.statistics.count(reason, name, count)
        self.statistics.report()

    def announce_gap(self, reason: str, concerns: Concerns | None = None) -> None:
        """Tell consumers, once, that messages to them may have been lost.

        Args:
            reason: what they are told.
            concerns: says which of them; by default it is all.
        """
        with self.lock:
            found = [
                (mailbox, list(self._memberships.get(channel, ())))
                for channel, mailbox in self._mailboxes.items()
            ]
        told = 0
        for mailbox, groups in found:
            if concerns is None or concerns(mailbox.channel, groups):
                told += mailbox.announce_gap(reason)
        self.statistics.tell_gap(reason, told)

    def announce_gap_to_channel(self, channel: str, reason: str) -> None:
        """The same for one channel."""
        self._announce_gap_to([channel], reason)

    def announce_gap_to_group(self, group: str, reason: str) -> None:
        """The same for the members of one group."""
        with self.lock:
            channels = list(self._groups.get(group, ()))
        self._announce_gap_to(channels, reason)

    def _announce_gap_to(self, channels: Collection[str], reason: str) -> None:
        found = [self._mailboxes.get(channel) for channel in channels]
        told = sum(mailbox.announce_gap(reason) for mailbox in found if mailbox is not None)
        self.statistics.tell_gap(reason, told)

    # The whole

    async def flush(self) -> None:
        """Forget every message, also those under way, and every group."""
        await super().flush()
        self.release_all()

"""The half of a layer over Redis that is in this process."""

from collections.abc import Callable
from typing import Any

from ..local import LocalChannels
from ..mailbox import Mailbox
from ..statistics import Statistics

__all__ = ["Here"]


class Here(LocalChannels):
    """The half of a layer that is in this process: its channels, and their groups.

    Args:
        statistics: of the layer.
        emptied: called with the name of a group that the last member here has left, in whichever
            thread that was, while the lock is held.
        options: of the in-memory layer.
    """

    def __init__(
        self, statistics: Statistics, emptied: Callable[[str], None], **options: Any
    ) -> None:
        super().__init__(**options)
        self.statistics = statistics
        self._emptied = emptied

    def group_emptied(self, group: str) -> None:
        """Nobody here is in the group any more."""
        self._emptied(group)

    def is_member(self, group: str, channel: str) -> bool:
        """Whether ``channel`` is in ``group``."""
        return channel in self._groups.get(group, ())

    def _left_unread(self, channel: str) -> None:
        """It stays a member: on Redis memberships end by ``group_expiry`` and leases only."""

    def _vanish(self, mailbox: Mailbox) -> None:
        """A member of a group keeps its mailbox, which its next message needs again."""
        if mailbox.channel not in self._memberships:
            super()._vanish(mailbox)

    def mailboxes(self) -> list[tuple[Mailbox, list[str]]]:
        """Each mailbox, and the groups that its channel is in."""
        with self.lock:
            return [
                (mailbox, list(self._memberships.get(channel, ())))
                for channel, mailbox in self._mailboxes.items()
            ]

    def members(self, group: str) -> list[Mailbox]:
        """The mailboxes of a group's members."""
        with self.lock:
            get = self._mailboxes.get
            found = [get(channel) for channel in self._groups.get(group, ())]
        return [mailbox for mailbox in found if mailbox is not None]

    def named(self, channel: str) -> list[Mailbox]:
        """The mailbox of a channel, if it has one."""
        mailbox = self._mailboxes.get(channel)
        return [] if mailbox is None else [mailbox]

"""The lease on an inbox and on memberships, and the signs of life that renew it.

A server keeps what is a process's for as long as its lease. A process that is killed, or cut off,
stops giving signs of life, and the server forgets it.
"""

import logging
from collections.abc import Iterable, Iterator
from itertools import islice
from typing import Any, Protocol

from ..keys import inbox_key, lost_key, process_member

__all__ = ["Lease", "Recipient"]

logger = logging.getLogger("channels.layers")

# Memberships that one script renews; a server needs about a millisecond for as many.
_CHUNK = 1000


class Recipient(Protocol):
    """Learns from the answers what became of memberships and of messages."""

    def inbox_groups(self, partition: int) -> Iterable[str]:
        """The keys of the groups to be a member of, those that have been left meanwhile excepted.

        It is gone through in several steps, and other tasks run in between.
        """

    def inbox_groups_missing(self, partition: int, keys: list[bytes]) -> None:
        """The server knew nothing of these memberships; it does again."""

    def inbox_overflowed(self, partition: int, count: int) -> None:
        """The inbox had no room for some group messages."""


class Lease:
    """What one server keeps for a process: its inbox, and its memberships.

    Args:
        partition: the number of the server.
        base: of all keys there.
        process: the name of the process.
        seconds: how long the server keeps it all after the last sign of life.
        recipient: has the groups.
    """

    def __init__(
        self, partition: int, base: str, process: str, seconds: float, recipient: Recipient
    ) -> None:
        self.inbox = inbox_key(base, process)
        self.lost = lost_key(base, process)
        #: How long it lasts, in milliseconds.
        self.milliseconds = int(seconds * 1000)
        self._member = process_member(process)
        self._partition = partition
        self._seconds = seconds
        self._recipient = recipient
        # How many messages the inbox had no room for, of those that the recipient knows of.
        self._overflowed = 0

    def resume_from(self, former: "Lease") -> None:
        """Go on from what another event loop knew of it."""
        self._overflowed = former._overflowed

    def renewals(self) -> Iterator[tuple[list[str], list[Any]]]:
        """The keys and the arguments for the script ``renew``, a thousand groups at a time."""
        groups = iter(self._recipient.inbox_groups(self._partition))
        chunk = list(islice(groups, _CHUNK))
        while True:
            yield [self.inbox, self.lost, *chunk], [self._member, self.milliseconds]
            chunk = list(islice(groups, _CHUNK))
            if not chunk:
                return

    def heed(self, answer: list[Any], *, anew: bool = False, told: bool = False) -> bool:
        """Take note of what the script has answered.

        Args:
            answer: the script's.
            anew: the inbox has just been made, so the server may have forgotten its count, too.
            told: everybody is about to be told of a gap, so nobody need be of the groups' own.

        Returns:
            Whether the inbox was still there.
        """
        _, alive, overflowed, foreign, missing = answer
        if foreign:
            logger.error("These keys should hold groups and hold something else: %s", foreign)
        if anew and overflowed < self._overflowed:
            self._overflowed = 0
        more = overflowed - self._overflowed
        if more > 0:  # two connections ask, and an answer may be older than the one before it
            self._overflowed = overflowed
            self._recipient.inbox_overflowed(self._partition, more)
        if missing and not told:
            self._recipient.inbox_groups_missing(self._partition, missing)
        return bool(alive)

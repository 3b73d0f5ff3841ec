"""What a layer asks of a broker that keeps messages which are to be sent later."""

from typing import Literal, NamedTuple, Protocol, TypeAlias

from ..delays import When

__all__ = ["CHANNEL", "GROUP", "QUEUE", "Claimed", "Kind", "Outcome", "Schedule"]

#: What a scheduled message is for: a named channel whose queue the schedule's own server has, any
#: other channel, or a group.
Kind: TypeAlias = Literal["q", "c", "g"]
QUEUE: Kind = "q"
CHANNEL: Kind = "c"
GROUP: Kind = "g"

#: What became of a message that was due. "lost" means that the claim has ended: it is another's.
Outcome: TypeAlias = Literal["sent", "again", "given up", "lost"]


class Claimed(NamedTuple):
    """A message that is due, and that this process alone is to send for a while.

    Attributes:
        id: its name in the schedule.
        claim: what makes it ours.
        kind: what it is for.
        name: of the channel or group.
        data: the message, as it was scheduled.
    """

    id: str
    claim: str
    kind: str
    name: str
    data: bytes


class Schedule(Protocol):
    """Keeps messages until they are due, in one or several partitions.

    Coroutines may be called on any event loop that lasts, and raise
    :exc:`~channels.exceptions.BrokerError` when the broker refuses, or does not answer for long.
    """

    @property
    def partitions(self) -> int:
        """How many there are."""

    def partition_of(self, name: str) -> int:
        """The partition that has a channel's queue, or in which a group is."""

    async def add(
        self,
        partition: int,
        id: str,  # noqa: A002
        kind: Kind,
        name: str,
        data: bytes,
        due: When,
        period: float = 0.0,
    ) -> bool:
        """Schedule a message.

        Args:
            partition: where to keep it.
            id: its name there. What is periodic takes the place of what had the same name.
            kind: what it is for.
            name: of the channel or group.
            data: the message.
            due: when, by the broker's clock.
            period: seconds from one time to the next, or 0 if it is sent once.

        Returns:
            False if there is no room for it.
        """

    async def cancel(self, partition: int, id: str) -> bool:  # noqa: A002
        """Cancel a message. Returns whether it was there, and nobody is about to send it."""

    async def claim(self, partition: int, claim: str) -> "tuple[float | None, list[Claimed]]":
        """Claim what is due, a bounded number of messages at a time.

        Args:
            partition: which.
            claim: a name for it that is used once.

        Returns:
            In how many seconds to look again, if anything is left, and what was claimed.
        """

    async def append(
        self, partition: int, claimed: Claimed, data: bytes, capacity: int, expiry: float
    ) -> Outcome:
        """Append a message to the queue of its channel and settle that, both or neither.

        Args:
            partition: where the schedule and the queue are.
            claimed: what was claimed.
            data: the message, as it is to be appended.
            capacity: how many messages the queue may hold.
            expiry: seconds for which it may wait there, and for which it is tried again before if
                the queue is full.
        """

    async def settle(
        self, partition: int, claimed: Claimed, *, sent: bool, patience: float
    ) -> Outcome:
        """Note that a message was sent, or could not be.

        Args:
            partition: where it was claimed.
            claimed: what was claimed.
            sent: whether it was.
            patience: seconds for which it is tried again.
        """

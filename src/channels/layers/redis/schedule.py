"""What is to be sent later, as both layers over Redis keep it: in every partition, on its server.

A sorted set says when to look at which message, and a hash has the messages. The server's clock
alone decides what is due. A process claims what is due for a while, sends it, and settles that;
what a process that dies had claimed is another's when the claim ends. To append a message to a
queue in the same partition and to settle it is one step of the server, so that it is done once,
whatever dies.
"""

from typing import Any

from ..broker.process import ProcessChannels
from ..broker.schedule import Claimed, Kind, Outcome
from ..delays import When
from ..options import LONGEST
from ..statistics import EXPIRED
from .connection.commands import CommandConnection
from .keys import queue_expiry_key, queue_key, schedule_key, scheduled_key
from .partitions import Partitions, milliseconds

__all__ = ["CLAIM_LEASE", "KEPT", "RedisSchedule"]

#: Seconds for which a claim holds. Longer than sending takes; see ``broker/scheduler.py``.
CLAIM_LEASE = 15.0

#: Seconds for which messages are kept that are due, while no process is there.
KEPT = 30 * 86400.0

# Messages that are claimed at a time.
_BATCH = 100

_OUTCOMES: dict[int, Outcome] = {1: "sent", 0: "lost", -1: "given up", -2: "again"}


class RedisSchedule:
    """Keeps messages until they are due; see :class:`~channels.layers.broker.schedule.Schedule`.

    Args:
        partitions: where.
        local: is told of messages that have expired.
        capacity: how many there may be in each partition.
    """

    def __init__(self, partitions: Partitions, local: ProcessChannels, capacity: int) -> None:
        self._partitions = partitions
        self._local = local
        self._capacity = capacity
        self.partition_of = partitions.number_of
        self._keys = [[schedule_key(base), scheduled_key(base)] for base in partitions.bases]

    @property
    def partitions(self) -> int:
        """How many there are."""
        return len(self._keys)

    def _connection(self, partition: int) -> CommandConnection:
        return self._partitions.senders.get().connections[partition]

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
        """Schedule a message. Returns False if there is no room for it."""
        head = f"{kind} {milliseconds(period) if period else 0} {name}\n"
        added = await self._connection(partition).append(
            "schedule", self._keys[partition],
            id, head.encode("ascii") + data, int(due.since_epoch), due.milliseconds(),
            self._capacity, milliseconds(KEPT),
        )  # fmt: skip
        return bool(added)

    async def cancel(self, partition: int, id: str) -> bool:  # noqa: A002
        """Cancel a message. Returns whether it was there, and nobody is about to send it."""
        connection = self._connection(partition)
        return bool(await connection.append("unschedule", self._keys[partition], id))

    async def claim(self, partition: int, claim: str) -> tuple[float | None, list[Claimed]]:
        """Claim what is due. Returns in how many seconds to look again, and what was claimed."""
        due_in, *found = await self._connection(partition).run(
            "claim", self._keys[partition],
            [claim, milliseconds(CLAIM_LEASE), _BATCH, milliseconds(KEPT)],
        )  # fmt: skip
        claimed = [
            _read(number, claim, entry)
            for number, entry in zip(found[::2], found[1::2], strict=True)
        ]
        return (None if due_in < 0 else due_in / 1000), claimed

    async def append(
        self, partition: int, claimed: Claimed, data: bytes, capacity: int, expiry: float
    ) -> Outcome:
        """Append a message to the queue of its channel and settle that, both or neither."""
        queue = queue_key(self._partitions.bases[partition], claimed.name)
        keys = [*self._keys[partition], queue, queue_expiry_key(queue)]
        life = milliseconds(expiry)
        return await self._settle(partition, keys, claimed, 1, life, data, capacity, life)

    async def settle(
        self, partition: int, claimed: Claimed, *, sent: bool, patience: float
    ) -> Outcome:
        """Note that a message was sent, or could not be."""
        keys, life = self._keys[partition], milliseconds(min(patience, LONGEST))
        return await self._settle(partition, keys, claimed, int(sent), life)

    async def _settle(
        self, partition: int, keys: list[str], claimed: Claimed, *arguments: Any
    ) -> Outcome:
        outcome, expired = await self._connection(partition).append(
            "settle", keys, claimed.id, claimed.claim, *arguments
        )
        if expired:
            self._local.drop(EXPIRED, claimed.name, expired)
        return _OUTCOMES[outcome]


def _read(number: bytes, claim: str, entry: bytes) -> Claimed:
    """An entry of the schedule. Of what somebody else has put there, the kind is none."""
    head, _, data = entry.partition(b"\n")
    kind, _, rest = head.decode("ascii", "replace").partition(" ")
    return Claimed(number.decode("ascii", "replace"), claim, kind, rest.partition(" ")[2], data)

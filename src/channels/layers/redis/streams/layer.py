"""The Redis channel layer, on streams."""

from collections.abc import Mapping, Sequence
from re import Pattern
from typing import Any

from ...broker.delayed import SCHEDULE_CAPACITY
from ...broker.transport import Recipient
from ...mailbox import Overflow
from ...options import require_count, require_duration
from ...serializers import Key
from ..layer import RedisLayer
from .transport import StreamsTransport

__all__ = ["RedisChannelLayer"]

# Seconds for which a process, and its memberships, outlive the last sign of life. It gives one
# every third of that.
LEASE = 60.0

# Messages that may wait for one process. Each channel's own capacity counts when they arrive.
INBOX_CAPACITY = 10_000


class RedisChannelLayer(RedisLayer):
    """Carries messages between processes and machines through Redis or Valkey.

    Args:
        hosts: where the servers are; see the reference. Names are spread over several.
        prefix: of all keys.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A connected consumer stays a member as long as it is connected.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        symmetric_encryption_keys: keys under which messages are encrypted: the first encrypts,
            all decrypt.
        random_prefix_length: accepted for compatibility. Equal messages are kept apart as they are.
        serializer_format: ``"msgpack"``, ``"json"``, or what your project registered.
        overflow: what a consumer's full channel does; see
            :class:`~channels.layers.InMemoryChannelLayer`.
        inbox_capacity: messages that may wait for one process, beyond which they are dropped and
            counted.
        lease: seconds after its last sign of life for which the server keeps what is a process's.
        schedule_capacity: messages that may wait to be sent later, periodic ones included, on each
            host or in each part of a cluster.
    """

    transport: StreamsTransport

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        overflow: Overflow = "drop_newest",
        inbox_capacity: int = INBOX_CAPACITY,
        lease: float = LEASE,
        schedule_capacity: int = SCHEDULE_CAPACITY,
    ) -> None:
        require_count("inbox_capacity", inbox_capacity, 1)
        require_duration("lease", lease, positive=True)
        self.inbox_capacity = inbox_capacity
        self.lease = lease
        super().__init__(
            hosts,
            prefix=prefix,
            schedule_capacity=schedule_capacity,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            serializer_format=serializer_format,
            overflow=overflow,
        )

    def _connect(self, recipient: Recipient) -> StreamsTransport:
        return StreamsTransport(
            recipient,
            self.servers,
            self._bases,
            self.lease,
            self.inbox_capacity,
            self.schedule_capacity,
        )

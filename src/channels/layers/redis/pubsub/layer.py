"""The Redis channel layer with the lowest latency, on pub/sub."""

from collections.abc import Mapping, Sequence
from re import Pattern
from typing import Any

from ...broker.background import Callback
from ...broker.delayed import SCHEDULE_CAPACITY
from ...broker.transport import UNCONFIRMED, Recipient
from ...mailbox import Overflow
from ...options import require_callback, require_flag
from ...serializers import Key
from ..layer import RedisLayer
from .transport import PubSubTransport

__all__ = ["UNCONFIRMED", "RedisPubSubChannelLayer"]


class RedisPubSubChannelLayer(RedisLayer):
    """Carries messages between processes and machines through the pub/sub of Redis or Valkey.

    Faster than :class:`~channels.layers.redis.RedisChannelLayer`, with the same promises but one:
    messages published while a process's connection is broken are lost to its consumers. The layer
    repairs the connection by itself, and then calls each such consumer's handler ``layer_gap``
    once. A message whose own sending the break interrupted is not sent again, since it may have
    arrived, but counted as dropped (``"unconfirmed"``). So no message arrives twice.

    Named channels, such as workers read, are queues on the server and lose nothing.

    Args:
        hosts: where the servers are; see the reference. Names are spread over several.
        prefix: of all topics and keys.
        on_disconnect: called without arguments, and awaited if it is a coroutine function, when
            the connection that receives messages has broken; with several hosts, for each.
        on_reconnect: the same when it has been repaired.
        symmetric_encryption_keys: keys under which messages are encrypted: the first encrypts,
            all decrypt.
        serializer_format: ``"msgpack"``, ``"json"``, or what your project registered.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A connected consumer stays a member as long as it is connected.
        capacity: messages a channel holds.
        random_prefix_length: accepted for compatibility; without a meaning here.
        overflow: what a consumer's full channel does; see
            :class:`~channels.layers.InMemoryChannelLayer`.
        sharded: use sharded pub/sub, which needs Redis 7 or Valkey and pays off in a cluster. By
            default it is used in clusters that have it. All processes must agree.
        schedule_capacity: messages that may wait to be sent later, periodic ones included, on each
            host or in each part of a cluster.
    """

    transport: PubSubTransport

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        on_disconnect: Callback = None,
        on_reconnect: Callback = None,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        serializer_format: str = "msgpack",
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        random_prefix_length: int = 12,
        *,
        overflow: Overflow = "drop_newest",
        sharded: bool | None = None,
        schedule_capacity: int = SCHEDULE_CAPACITY,
    ) -> None:
        require_callback("on_disconnect", on_disconnect)
        require_callback("on_reconnect", on_reconnect)
        require_flag("sharded", sharded)
        self.on_disconnect = on_disconnect
        self.on_reconnect = on_reconnect
        self._sharded = sharded
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

    def _connect(self, recipient: Recipient) -> PubSubTransport:
        return PubSubTransport(
            recipient, self.servers, self._bases, self._sharded, self, self.schedule_capacity
        )

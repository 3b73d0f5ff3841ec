"""The channel layer over RabbitMQ: its options."""

import re
import ssl
from collections.abc import Mapping, Sequence
from functools import partial
from re import Pattern
from typing import Any, ClassVar, Literal

from ...exceptions import InvalidChannelLayerError
from ..broker.layer import BrokerLayer
from ..broker.transport import Recipient
from ..mailbox import Overflow
from ..options import LONGEST, require_count, require_duration, require_text
from ..serializers import Key
from .connecting import Nodes
from .transport import RabbitMQTransport

__all__ = ["INBOX_CAPACITY", "RabbitMQChannelLayer"]

#: Messages that may wait for one process, by default.
INBOX_CAPACITY = 10_000

# Names at the broker have 255 bytes at the most, and hold the name of a channel besides.
_LONGEST_PREFIX = 100

# What names of exchanges and queues may have; pamqp refuses anything else.
_PREFIX = re.compile("[a-zA-Z0-9_.:@#,/+ -]*")

# Seconds. The protocol has two bytes for them.
_LONGEST_HEARTBEAT = 65_534


class RabbitMQChannelLayer(BrokerLayer):
    """Carries messages between processes and machines through RabbitMQ 3.10 or later.

    A process has one queue, which ends with its connection: messages published while that is broken
    are lost to its consumers. The layer repairs the connection by itself, and then calls each such
    consumer's handler ``layer_gap`` once. A message whose own sending the break interrupted is not
    sent again, since it may have arrived, but counted as dropped (``"unconfirmed"``). So no message
    arrives twice.

    Named channels, such as workers read, are durable queues and lose nothing.

    Args:
        urls: of one node, or of several in a cluster: ``amqp://user:password@host:port/vhost``, or
            ``amqps://`` for TLS.
        prefix: of names at the broker; up to 100 characters: letters and digits of ASCII, spaces
            and ``-_.:@#,/+``.
        tls: for ``amqps://`` with certificates of your own.
        heartbeat: seconds between signs of life. A connection that gives none for about three times
            as long is given up.
        response_timeout: seconds for which an answer of the broker is awaited.
        queue_type: of named channels: ``"classic"``, or ``"quorum"`` for copies on several nodes,
            which may take some messages more, or fewer, than the capacity.
        inbox_capacity: messages that may wait for one process.
        symmetric_encryption_keys: keys under which messages are encrypted: the first encrypts,
            all decrypt.
        serializer_format: ``"msgpack"``, ``"json"``, or what your project registered.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A named channel is a member as long as its queue is there.
        capacity: messages a channel holds.
        overflow: what a consumer's full channel does; see
            :class:`~channels.layers.InMemoryChannelLayer`.

    Raises:
        InvalidChannelLayerError: an option is wrong; says what to write.
    """

    transport: RabbitMQTransport

    supports_state: ClassVar[bool] = False

    supports_tokens: ClassVar[bool] = False

    supports_places: ClassVar[bool] = False

    def __init__(
        self,
        urls: "str | Sequence[str]" = "amqp://guest:guest@localhost:5672/",
        prefix: str = "asgi",
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        serializer_format: str = "msgpack",
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        *,
        tls: ssl.SSLContext | None = None,
        heartbeat: int = 10,
        response_timeout: float = 10.0,
        queue_type: Literal["classic", "quorum"] = "classic",
        inbox_capacity: int = INBOX_CAPACITY,
        overflow: Overflow = "drop_newest",
    ) -> None:
        require_count("inbox_capacity", inbox_capacity, 1)
        require_count("heartbeat", heartbeat, 1, _LONGEST_HEARTBEAT)
        require_duration("response_timeout", response_timeout, positive=True)
        if queue_type not in ("classic", "quorum"):
            raise InvalidChannelLayerError(
                f'queue_type must be "classic" or "quorum", not {queue_type!r}'
            )
        if tls is not None and not isinstance(tls, ssl.SSLContext):
            raise InvalidChannelLayerError(
                "tls must be an ssl.SSLContext, as ssl.create_default_context() makes it, not "
                f"{tls!r}"
            )
        require_text("prefix", prefix)
        if len(prefix) > _LONGEST_PREFIX:
            raise InvalidChannelLayerError(
                f"prefix must have {_LONGEST_PREFIX} characters at the most, not {len(prefix)}"
            )
        if not _PREFIX.fullmatch(prefix):
            raise InvalidChannelLayerError(
                "prefix may have letters and digits of ASCII, spaces and -_.:@#,/+ since names at "
                f"RabbitMQ hold it, not {prefix!r}"
            )
        self.inbox_capacity = inbox_capacity
        self.queue_type = queue_type
        patience = min(response_timeout, LONGEST)
        self._nodes = Nodes(_require_urls(urls), tls, heartbeat, patience)
        super().__init__(
            self._connect,
            prefix=prefix,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            symmetric_encryption_keys=symmetric_encryption_keys,
            serializer_format=serializer_format,
            overflow=overflow,
        )

    def _connect(self, recipient: Recipient) -> RabbitMQTransport:
        return RabbitMQTransport(
            recipient, self._nodes, self.prefix, self.inbox_capacity, self.queue_type,
            partial(type(self).get_capacity, self), self.expiry,
        )  # fmt: skip

    async def close_pools(self) -> None:
        """Close the connections of the running event loop, as at the end of a script or a test.

        Nothing else ends: neither memberships nor unread messages nor calls under way.
        """
        await self.transport.rest()


def _require_urls(urls: Any) -> list[str]:
    """The option, as a list."""
    found = [urls] if isinstance(urls, str) else urls
    if not isinstance(found, list | tuple) or not found:
        raise InvalidChannelLayerError(
            f"urls must be a URL or a list of them, not {type(urls).__name__}"
        )
    for url in found:
        if not isinstance(url, str) or not url.startswith(("amqp://", "amqps://")):
            raise InvalidChannelLayerError(
                'each of urls must begin with "amqp://" or "amqps://", such as '
                "amqp://user:password@localhost:5672/vhost"
            )
    return list(found)

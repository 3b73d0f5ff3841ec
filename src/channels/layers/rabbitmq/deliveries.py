"""Messages that RabbitMQ sends over one connection, put together from their frames."""

import struct
from collections.abc import Callable
from typing import NamedTuple

from .frames import BODY, DELIVER, HEADER, METHOD, body_size, encode_ack, message_type
from .link import Link
from .wire import Wire

__all__ = ["Deliveries", "Delivery"]

# Behind the name of the consumer: the message's number, a flag, and how long the exchange's name
# is. The routing key follows.
_DELIVERY = struct.Struct(">QBB")


class _Garbled(Exception):
    """The frames of a message do not fit each other."""


class Delivery(NamedTuple):
    """A message.

    Attributes:
        tag: its number, by which it is acknowledged.
        key: the routing key.
        kind: its type, if it is not a consumer's.
        body: what was published.
    """

    tag: int
    key: str
    kind: str | None
    body: bytes


class Deliveries:
    """The messages of one consumer, all that came at once together.

    Messages of other consumers on the channel are left to aiormq.

    Args:
        link: the connection; the consumer is on its channel.
        wire: over which it was made.
        consumer: the name of the consumer, its "consumer tag".
        hand_on: is given the messages.
    """

    def __init__(
        self,
        link: Link,
        wire: Wire,
        consumer: str,
        hand_on: Callable[[list[Delivery]], object],
    ) -> None:
        self._link, self._wire = link, wire
        name = consumer.encode("ascii")
        self._beginning = b"%b%c%b" % (DELIVER, len(name), name)
        self._hand_on: Callable[[list[Delivery]], object] | None = hand_on
        # Whether the frames that come are a message's for this consumer, and what of it is missing:
        # the header, or so many bytes.
        self._ours = False
        self._headless, self._missing = False, 0
        self._tag, self._key = 0, ""
        self._kind: str | None = None
        self._parts: list[bytes] = []
        # Messages that are whole.
        self._whole: list[Delivery] = []
        wire.attach(link.channel.number, self._take, self._taken)

    def acknowledge(self, tag: int) -> None:
        """Acknowledge a message and all before it, so that RabbitMQ sends others."""
        if self._link.is_open:
            self._wire.write(encode_ack(self._link.channel.number, tag))

    def stop(self) -> None:
        """Hand on nothing any more."""
        self._hand_on = None

    # Frames

    def _take(self, kind: int, content: bytes) -> bool:
        """Handle a frame, if it is of a message for this consumer; whether it is.

        Raises:
            ConnectionError: it makes no sense.
        """
        try:
            if kind == METHOD:
                if self._headless or self._missing:
                    raise _Garbled
                self._ours = content.startswith(self._beginning)
                if self._ours:
                    self._begin(content)
            elif self._ours and kind == HEADER:
                self._describe(content)
            elif self._ours and kind == BODY:
                self._fill(content)
            else:
                return False
        except (_Garbled, IndexError, struct.error) as error:
            raise ConnectionError("RabbitMQ sent frames that make no message") from error
        return self._ours

    def _begin(self, method: bytes) -> None:
        at = len(self._beginning)
        self._tag, _, exchange = _DELIVERY.unpack_from(method, at)
        at += _DELIVERY.size + exchange
        key = method[at + 1 :]
        if len(key) != method[at]:
            raise _Garbled
        self._key = key.decode("utf-8", "replace")
        self._headless = True

    def _describe(self, header: bytes) -> None:
        if not self._headless:
            raise _Garbled
        self._headless = False
        self._missing = body_size(header)
        self._kind = message_type(header)
        if not self._missing:
            self._end(b"")

    def _fill(self, part: bytes) -> None:
        if self._headless or not 0 < len(part) <= self._missing:
            raise _Garbled
        self._missing -= len(part)
        if self._missing:
            self._parts.append(part)
        elif self._parts:
            body = b"".join((*self._parts, part))
            self._parts.clear()
            self._end(body)
        else:
            self._end(part)

    def _end(self, body: bytes) -> None:
        self._whole.append(Delivery(self._tag, self._key, self._kind, body))

    def _taken(self) -> None:
        """Hand on what is whole."""
        if self._whole:
            whole, self._whole = self._whole, []
            if self._hand_on is not None:
                self._hand_on(whole)

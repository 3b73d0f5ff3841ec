"""Frames of AMQP 0-9-1: messages as they are published and sent, and what is said of them.

The rest of the protocol is aiormq's. To make objects of the frames of one message, as pamqp does,
takes more processor time than everything else about it.
"""

import struct
from functools import lru_cache

from pamqp import commands
from pamqp.header import ContentHeader

from ...exceptions import InvalidNameError
from ..options import milliseconds

__all__ = [
    "ACK",
    "BLOCKED",
    "BODY",
    "DELIVER",
    "END",
    "FRAME",
    "HEADER",
    "HEARTBEAT",
    "METHOD",
    "NACK",
    "OVERHEAD",
    "RETURN",
    "UNBLOCKED",
    "Properties",
    "body_size",
    "encode_ack",
    "encode_message",
    "message_number",
    "message_type",
    "properties",
]

#: What a frame begins with: its kind, the channel, and the bytes that follow but for the last.
FRAME = struct.Struct(">BHI")

#: Bytes that a frame has besides what it carries.
OVERHEAD = FRAME.size + 1

#: Kinds of frames.
METHOD, HEADER, BODY, HEARTBEAT = 1, 2, 3, 8

#: Methods: their class and number.
ACK, NACK, RETURN = b"\0\x3c\0\x50", b"\0\x3c\0\x78", b"\0\x3c\0\x32"
BLOCKED, UNBLOCKED = b"\0\x0a\0\x3c", b"\0\x0a\0\x3d"

DELIVER = b"\0\x3c\0\x3c"

#: The last byte of a frame.
END = 0xCE

_PUBLISH = b"\0\x3c\0\x28\0\0"
_END = bytes((END,))

# The class of messages, which have no weight, and how many bytes a message has.
_CONTENT = struct.Struct(">HHQ")
_CLASS = 60

# Which properties a message has, behind that. The type is the eleventh; of those before it, in
# order: its bit, the bytes of its length, if it has one before it, and else its own.
_FLAGS = struct.Struct(">H")
_TYPE = 1 << 5
_BEFORE_TYPE = (
    (1 << 15, 1, 0), (1 << 14, 1, 0), (1 << 13, 4, 0), (1 << 12, 0, 1), (1 << 11, 0, 1),
    (1 << 10, 1, 0), (1 << 9, 1, 0), (1 << 8, 1, 0), (1 << 7, 1, 0), (1 << 6, 0, 8),
)  # fmt: skip

# A frame that says that all messages up to a number have been received.
_ACK = struct.Struct(">BHI4sQBB")
_ALL = 1

_TRANSIENT, _PERSISTENT = 1, 2

# Takes the place of the number of a message. Fixed, so that the rest need not be made again.
_NUMBER = b"%020d"
_PLACE = "<a message's number>"

Properties = tuple[bytes, bytes]
"""What is before the number of a message, and what is behind it; or all, and nothing."""


@lru_cache(maxsize=64)
def properties(
    *,
    persistent: bool = False,
    expiration: float | None = None,
    kind: str | None = None,
    numbered: bool = False,
) -> Properties:
    """The properties of a message.

    Args:
        persistent: whether it is to outlive the broker, in a durable queue.
        expiration: seconds that it may wait in a queue.
        kind: the type of a message that is not a consumer's.
        numbered: whether it is to have a number, by which it is known if it comes back.
    """
    data: bytes = commands.Basic.Properties(
        delivery_mode=_PERSISTENT if persistent else _TRANSIENT,
        expiration=None if expiration is None else str(milliseconds(expiration)),
        message_type=kind,
        message_id=_PLACE if numbered else None,
    ).marshal()
    before, _, behind = data.partition(_PLACE.encode())
    return before, behind


def encode_message(
    channel: int,
    exchange: str,
    key: str,
    body: bytes,
    properties: Properties,
    number: int | None,
    limit: int,
) -> bytes:
    """A message, as it is published.

    Args:
        channel: the number of an AMQP channel.
        exchange: its name, or nothing for the default exchange.
        key: the routing key.
        body: the message.
        properties: see :func:`properties`.
        number: of the message, for properties with a number. It comes back if there is no queue
            for it: RabbitMQ calls that mandatory.
        limit: bytes that one frame may have.

    Raises:
        InvalidNameError: the key is too long.
    """
    name, routing_key = exchange.encode(), key.encode()
    try:
        method = b"%b%c%b%c%b%c" % (
            _PUBLISH, len(name), name, len(routing_key), routing_key, number is not None,
        )  # fmt: skip
    except OverflowError:
        raise InvalidNameError(
            f"RabbitMQ takes routing keys of up to 255 bytes: {key!r} is too long"
        ) from None
    before, behind = properties
    header = _CONTENT.pack(_CLASS, 0, len(body)) + before
    if number is not None:
        header = b"%b%b%b" % (header, _NUMBER % number, behind)
    frames = [
        FRAME.pack(METHOD, channel, len(method)), method, _END,
        FRAME.pack(HEADER, channel, len(header)), header, _END,
    ]  # fmt: skip
    room = limit - OVERHEAD
    for start in range(0, len(body), room):
        part = body if len(body) <= room else body[start : start + room]
        frames += FRAME.pack(BODY, channel, len(part)), part, _END
    return b"".join(frames)


def encode_ack(channel: int, tag: int) -> bytes:
    """An acknowledgement of messages that RabbitMQ has sent.

    Args:
        channel: the number of an AMQP channel.
        tag: the number of the last of them; all before it are meant as well.
    """
    size = _ACK.size - OVERHEAD
    return _ACK.pack(METHOD, channel, size, ACK, tag, _ALL, END)


def message_number(header: bytes) -> int:
    """The number of a message that has come back.

    Args:
        header: what the frame with its properties carries.

    Raises:
        ValueError: it has none.
    """
    content = ContentHeader()
    content.unmarshal(header)
    return int(content.properties.message_id or "")


def body_size(header: bytes) -> int:
    """Bytes that a message has.

    Args:
        header: what the frame with its properties carries.

    Raises:
        struct.error: it is no such frame.
    """
    size: int = _CONTENT.unpack_from(header)[2]
    return size


def message_type(header: bytes) -> str | None:
    """The type of a message that is not a consumer's; None if it has none that can be read.

    Args:
        header: what the frame with its properties carries.
    """
    try:
        at = _CONTENT.size
        (flags,) = _FLAGS.unpack_from(header, at)
        if not flags & _TYPE:
            return None
        at += _FLAGS.size
        for flag, prefix, size in _BEFORE_TYPE:
            if flags & flag:
                at += size + prefix + int.from_bytes(header[at : at + prefix], "big")
        length = header[at]
        return header[at + 1 : at + 1 + length].decode()
    except (struct.error, IndexError, UnicodeDecodeError):
        return None

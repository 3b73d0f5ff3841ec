"""The connection that publishes: what is published passes by aiormq, the rest goes through it.

aiormq connects, opens channels, declares, sends signs of life and closes. But a message and its
confirmation take it a task, a lock, two futures and four queues, which is ten times what they take
here. So messages are written to the transport as they are, and what RabbitMQ says of them is taken
out of what comes, before aiormq reads the rest. It is made for that: a transport factory is a part
of its interface, and no private name of it is used. A server that says what is no frame at all is
left to aiormq altogether.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiormq import TransportFactory
from yarl import URL

from ..._runtime.clock import now
from .frames import (
    ACK,
    BLOCKED,
    BODY,
    FRAME,
    HEADER,
    HEARTBEAT,
    METHOD,
    NACK,
    OVERHEAD,
    RETURN,
    UNBLOCKED,
    message_number,
)

__all__ = ["Wire"]

_KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})

# Bytes of a method's class and number, and of the tag behind it, after which "multiple" stands.
_NAME, _TAG = 4, 8

# Seconds for which aiormq may see nothing of what comes. It gives up a connection on which nothing
# does, and RabbitMQ sends no signs of life while it has something to say.
_UNSEEN = 0.5
_SIGN_OF_LIFE = b"\x08\0\0\0\0\0\0\xce"


class Wire(TransportFactory):
    """Makes one connection for aiormq, and takes out what concerns messages.

    Attributes:
        channel: the number of the AMQP channel over which messages are published; none is 0.
        confirmed: called with the number of a message, whether all before it are meant as well, and
            whether it was taken.
        returned: called with the number of a message that there is no queue for.
        flowing: set while RabbitMQ takes messages, and when the connection has been lost.
        lost: whether it has.
    """

    def __init__(self) -> None:
        self.channel = 0
        self.confirmed: Callable[[int, bool, bool], object] = _ignore
        self.returned: Callable[[int], object] = _ignore
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.lost = False
        self._blocked = self._congested = False
        self._transport: asyncio.Transport | None = None
        # What has come of a frame, and whether frames come at all.
        self._begun = b""
        self._in_frames = True
        self._seen = now()

    async def create(
        self, url: URL, **options: Any
    ) -> tuple[asyncio.StreamReader, asyncio.StreamWriter]:
        """Connect, for aiormq."""
        certificates = options.pop("ssl_context_provider")
        options |= {"host": url.host, "port": url.port}
        if url.scheme == "amqps":
            options["ssl"] = await certificates.get_context()
        loop = asyncio.get_running_loop()
        reader = asyncio.StreamReader(loop=loop)
        protocol = _Protocol(reader, loop, self)
        transport, _ = await loop.create_connection(lambda: protocol, **options)
        self._transport = transport
        return reader, asyncio.StreamWriter(transport, protocol, reader, loop)

    def write(self, data: bytes) -> None:
        """Send frames of messages."""
        if self._transport is not None and not self.lost:
            self._transport.write(data)

    # What comes

    def sift(self, data: bytes) -> bytes:
        """What is left for aiormq of what has come."""
        if not self._in_frames:
            return data
        data, at = self._begun + data, 0
        left: list[bytes] = []
        while len(data) - at >= OVERHEAD:
            kind, channel, size = FRAME.unpack_from(data, at)
            if kind not in _KINDS:
                self._in_frames, self._begun = False, b""
                return b"".join((*left, data[at:]))
            end = at + size + OVERHEAD
            if end > len(data):
                break
            if not self._take(kind, channel, data, at + FRAME.size, end):
                left.append(data[at:end])
            at = end
        self._begun = data[at:]
        time = now()
        if left:
            self._seen = time
        elif time - self._seen > _UNSEEN:
            self._seen = time
            left.append(_SIGN_OF_LIFE)
        return b"".join(left)

    def _take(self, kind: int, channel: int, data: bytes, start: int, end: int) -> bool:
        """Handle a frame, if it concerns messages; whether it is none of aiormq's business."""
        method = data[start : start + _NAME] if kind == METHOD else b""
        if channel == 0 or channel != self.channel:
            if method in (BLOCKED, UNBLOCKED):
                self._blocked = method == BLOCKED
                self._note_flow()
            return False
        if method in (ACK, NACK):
            at = start + _NAME
            tag = int.from_bytes(data[at : at + _TAG], "big")
            self.confirmed(tag, bool(data[at + _TAG] & 1), method == ACK)
            return True
        if kind == HEADER:  # only what comes back has one here, and a body
            self.returned(message_number(data[start : end - 1]))
        return kind in (HEADER, BODY) or method == RETURN

    # Flow

    def congest(self, congested: bool) -> None:
        """The transport has more to write than it should keep; or no longer."""
        self._congested = congested
        self._note_flow()

    def lose(self) -> None:
        """The connection has been lost."""
        self.lost = True
        self._note_flow()

    def _note_flow(self) -> None:
        if self.lost or not (self._blocked or self._congested):
            self.flowing.set()
        else:
            self.flowing.clear()


class _Protocol(asyncio.StreamReaderProtocol):
    """Fills the stream that aiormq reads."""

    def __init__(
        self, reader: asyncio.StreamReader, loop: asyncio.AbstractEventLoop, wire: Wire
    ) -> None:
        super().__init__(reader, loop=loop)
        self._wire = wire

    def data_received(self, data: bytes) -> None:
        left = self._wire.sift(data)
        if left:
            super().data_received(left)

    def pause_writing(self) -> None:
        super().pause_writing()
        self._wire.congest(True)

    def resume_writing(self) -> None:
        super().resume_writing()
        self._wire.congest(False)

    def connection_lost(self, exc: Exception | None) -> None:
        self._wire.lose()
        super().connection_lost(exc)


def _ignore(*_: object) -> None:
    """Before anything is published, nothing is said of it."""

"""A connection that carries messages: these pass by aiormq, the rest goes through it.

aiormq connects, opens channels, declares, sends signs of life and closes. But to publish a message
takes it a task, a lock, two futures and four queues, and to receive one a task and an object for
each frame, which is several times as much. So messages are written to the transport as they
are, and what RabbitMQ says of them or sends is taken out of what comes, before aiormq reads the
rest. It is made for that: a transport factory is a part of its interface, and no private name of it
is used. A server that says what is no frame at all is left to aiormq altogether.
"""

import asyncio
from collections.abc import Callable
from typing import Any

from aiormq import TransportFactory
from yarl import URL

from ..._runtime.clock import now
from .frames import (
    BLOCKED,
    BODY,
    END,
    FRAME,
    HEADER,
    HEARTBEAT,
    METHOD,
    OVERHEAD,
    UNBLOCKED,
)

__all__ = ["Wire"]

_KINDS = frozenset({METHOD, HEADER, BODY, HEARTBEAT})

# Bytes of a method's class and number.
_NAME = 4

# Seconds for which aiormq may see nothing of what comes. It gives up a connection on which nothing
# does, and RabbitMQ sends no signs of life while it has something to say.
_UNSEEN = 0.5
_SIGN_OF_LIFE = b"\x08\0\0\0\0\0\0\xce"


class Wire(TransportFactory):
    """Makes one connection for aiormq, and takes out what concerns messages.

    Attributes:
        flowing: set while RabbitMQ takes messages, and when the connection has been lost.
        lost: whether it has.
    """

    def __init__(self) -> None:
        self.flowing = asyncio.Event()
        self.flowing.set()
        self.lost = False
        # The channel that carries messages, and what takes its frames; none is 0.
        self._channel = 0
        self._take: Callable[[int, bytes], bool] = _take_nothing
        self._taken: Callable[[], object] = _do_nothing
        self._blocked = self._congested = False
        self._transport: asyncio.Transport | None = None
        # What has come of a frame, and whether frames come at all.
        self._begun = b""
        self._in_frames = True
        self._seen = now()

    def attach(
        self,
        channel: int,
        take: Callable[[int, bytes], bool],
        taken: Callable[[], object] | None = None,
    ) -> None:
        """Take out frames of one AMQP channel.

        Args:
            channel: its number.
            take: called with the kind of a frame, and what it carries; whether it is none of
                aiormq's business. A ConnectionError ends the connection.
            taken: called when all has been taken that came at once.
        """
        self._channel, self._take, self._taken = channel, take, taken or _do_nothing

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

    def abort(self) -> None:
        """Break the connection."""
        if self._transport is not None:
            self._transport.abort()

    # What comes

    def sift(self, data: bytes) -> bytes:
        """What is left for aiormq of what has come.

        Raises:
            ConnectionError: what was to be taken out of it makes no sense.
        """
        if not self._in_frames:
            return data
        data, at = self._begun + data, 0
        left: list[bytes] = []
        while len(data) - at >= OVERHEAD:
            kind, channel, size = FRAME.unpack_from(data, at)
            if kind not in _KINDS:
                self._in_frames = False
                left.append(data[at:])
                at = len(data)
                break
            start, end = at + FRAME.size, at + size + OVERHEAD
            if end > len(data):
                break
            if channel == 0:
                self._note_alarm(data[start : start + _NAME])
            if (
                channel != self._channel
                or data[end - 1] != END
                or not self._take(kind, data[start : end - 1])
            ):
                left.append(data[at:end])
            at = end
        self._begun = data[at:]
        self._taken()
        time = now()
        if left:
            self._seen = time
        elif time - self._seen > _UNSEEN:
            self._seen = time
            left.append(_SIGN_OF_LIFE)
        return b"".join(left)

    # Flow

    def _note_alarm(self, method: bytes) -> None:
        """RabbitMQ has said something of the connection: perhaps that it takes no messages."""
        if method in (BLOCKED, UNBLOCKED):
            self._blocked = method == BLOCKED
            self._note_flow()

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
        # Why the connection was given up.
        self._nonsense: Exception | None = None

    def data_received(self, data: bytes) -> None:
        try:
            left = self._wire.sift(data)
        except ConnectionError as error:
            self._nonsense = error
            self._wire.abort()
            return
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
        super().connection_lost(exc or self._nonsense)


def _take_nothing(kind: int, content: bytes) -> bool:
    """Before something is attached, all is aiormq's."""
    return False


def _do_nothing() -> None:
    """There is nothing to be done at the end of what came at once."""

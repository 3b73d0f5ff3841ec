"""A connection that redis-py has opened: commands are written to it, replies are handed on."""

import asyncio
import contextlib
import socket
from collections.abc import Callable, Iterable, Sequence
from typing import Any

from redis import exceptions as redis_errors

from ...._runtime import backstage, clock
from .opening import Connection

_pack: Callable[[tuple[Any, ...]], bytes] | None
try:
    from hiredis import Reader
    from hiredis import pack_command as _pack
except ImportError:  # pragma: no cover - tests set what is set here, which takes no other venv
    # redis-py's own parser and packer take five times the processor time.
    Reader = _pack = None  # type: ignore[misc, assignment]

__all__ = ["RawConnection"]

_INCOMPLETE = object()


class RawConnection:
    """Writes commands and hands on replies, for as long as the connection holds.

    The server answers in the order of the commands: the owner keeps account of which reply belongs
    to which command, and bounds how many are under way. There is no other flow control.

    Args:
        connection: open, with no answer outstanding. It belongs to this object from now on.
        receive: called with the replies that have come, errors among them, as they come. An
            exception that it raises ends the connection.

    Attributes:
        over: a future that gets the error which ended the connection, or None if :meth:`end` did.
        heard: when something last came, on the monotonic clock.
        quiet: seconds for which nothing had come before that.
    """

    def __init__(self, connection: Connection, receive: Callable[[Iterable[Any]], None]) -> None:
        self._loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = self._loop.create_future()
        self.heard = clock.now()
        self.quiet = 0.0
        self._connection = connection
        self._receive = receive
        # There is no public name for it.
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[union-attr, assignment]
        self._reading: asyncio.Task[None] | None = None
        self._parser: _Parser | None = None
        # While nothing may be handed on: done when it may again.
        self._resumed: asyncio.Future[None] | None = None
        if Reader is None:
            self._reading = backstage.start(self._read())
        else:
            self._parser = _Parser(self, connection, self._transport)

    @property
    def silence(self) -> float:
        """Seconds since something last came, or would have come."""
        return 0.0 if self.paused else clock.now() - self.heard

    @property
    def paused(self) -> bool:
        """Whether nothing is handed on for now."""
        return self._resumed is not None

    def pause(self) -> None:
        """Hand nothing on for now. What ``receive`` has not taken of the replies comes again.

        It is ``receive`` that calls this, and it is not called itself during a pause.
        """
        self._resumed = self._loop.create_future()
        with contextlib.suppress(RuntimeError):  # it is being closed
            self._transport.pause_reading()

    def resume(self) -> None:
        """Hand on what has come meanwhile, and go on."""
        resumed, self._resumed = self._resumed, None
        if resumed is None or self.over.done():
            return
        self.heard = clock.now()
        if self._parser is not None:
            self._parser.hand_on()
        if not self.paused:
            resumed.set_result(None)
            with contextlib.suppress(RuntimeError):
                self._transport.resume_reading()
        else:
            self._resumed = resumed

    def send(self, commands: Sequence[tuple[Any, ...]]) -> None:
        """Send commands, whose first words hold no spaces."""
        if self.over.done():
            return
        try:
            if _pack is not None:
                data = b"".join(map(_pack, commands))
            else:
                data = b"".join(self._connection.pack_commands(commands))
            self._transport.write(data)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.end(error)

    def received(self, replies: Iterable[Any]) -> None:
        """Hand on what has come."""
        if self.over.done():
            return
        now = clock.now()
        self.quiet, self.heard = now - self.heard, now
        try:
            self._receive(replies)
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.end(error)

    async def _read(self) -> None:
        """Hand on replies as redis-py reads them."""
        try:
            while True:
                try:
                    reply = await self._connection.read_response()
                except redis_errors.ResponseError as error:
                    reply = error
                self.received((reply,))
                if self._resumed is not None:
                    await self._resumed
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            self.end(error)

    def end(self, error: Exception | None = None) -> None:
        """Hand on nothing more; :attr:`over` is done."""
        if self.over.done():
            return
        if error is None:
            self.over.set_result(None)
        else:
            self.over.set_exception(error)

    async def aclose(self) -> None:
        """Disconnect."""
        if not self.over.cancel() and not self.over.cancelled():
            self.over.exception()  # the owner has seen it, or does not want to
        if self._reading is not None:
            self._reading.cancel()
        with contextlib.suppress(Exception):
            await self._connection.disconnect(nowait=True)

    def abandon(self) -> None:
        """Disconnect without an event loop, which has been closed."""
        # To close the transport would take the event loop.
        with contextlib.suppress(Exception):
            self._transport.get_extra_info("socket").shutdown(socket.SHUT_RDWR)


class _Parser(asyncio.Protocol):
    """Takes over the transport, and parses what comes where it arrives.

    Spares each reply the way through a stream and a task, which is most of what it costs.
    """

    def __init__(
        self, owner: RawConnection, connection: Connection, transport: asyncio.Transport
    ) -> None:
        self._owner = owner
        self._reader = Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_INCOMPLETE,
        )
        self._before = transport.get_protocol()
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        self._reader.feed(data)
        if self._owner._resumed is None:
            self._owner.received(iter(self._reader.gets, _INCOMPLETE))

    def hand_on(self) -> None:
        """Hand on what is complete and has not been taken."""
        self._owner.received(iter(self._reader.gets, _INCOMPLETE))

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is no more."""
        self._owner.end(error or ConnectionError("the server closed the connection"))
        self._before.connection_lost(error)

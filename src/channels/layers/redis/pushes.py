"""Taking what a server pushes, over a connection that redis-py has set up."""

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

from redis import exceptions as redis_errors

from .servers import Connection

try:
    from hiredis import Reader
except ImportError:  # redis-py's own parser does it too, for more processor time
    Reader = None  # type: ignore[misc, assignment]

__all__ = ["Pushes"]

_NOTHING = object()


class Pushes:
    """Hands on what comes over a connection, which is used for nothing else from now on.

    Args:
        connection: set up, with no answer outstanding.
        receive: called with the replies that have come. What it raises ends the connection.

    Attributes:
        over: a future that gets the error which ended the connection.
    """

    def __init__(self, connection: Connection, receive: Callable[[Iterable[Any]], None]) -> None:
        loop = asyncio.get_running_loop()
        self.over: asyncio.Future[None] = loop.create_future()
        # There is no public name for it.
        self._transport: asyncio.Transport = connection._writer.transport  # type: ignore[union-attr, assignment]
        self._task: asyncio.Task[None] | None = None
        if Reader is None:
            self._task = loop.create_task(self._read(connection, receive))
        else:
            _Parser(connection, self._transport, receive, self.over)

    def write(self, data: Iterable[bytes]) -> None:
        """Send commands. The server's answers to few and small ones need no flow control."""
        self._transport.writelines(data)

    async def _read(self, connection: Connection, receive: Callable[[Iterable[Any]], None]) -> None:
        try:
            while True:
                try:
                    reply = await connection.read_response()
                except redis_errors.ResponseError as error:
                    reply = error
                receive((reply,))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            _end(self.over, error)

    def stop(self) -> None:
        """Hand on nothing more."""
        if not self.over.cancel() and not self.over.cancelled():
            self.over.exception()
        if self._task is not None:
            self._task.cancel()


class _Parser(asyncio.Protocol):
    """Takes over the transport, and parses what comes where it arrives.

    Spares each message the way through a stream and a task, which is most of what it costs.
    """

    def __init__(
        self,
        connection: Connection,
        transport: asyncio.Transport,
        receive: Callable[[Iterable[Any]], None],
        over: "asyncio.Future[None]",
    ) -> None:
        self._receive = receive
        self._over = over
        self._reader = Reader(
            protocolError=redis_errors.InvalidResponse,
            replyError=connection._parser.parse_error,
            notEnoughData=_NOTHING,
        )
        self._transport = transport
        self._before = transport.get_protocol()
        transport.set_protocol(self)

    def data_received(self, data: bytes) -> None:
        """Hand on what is complete."""
        try:
            self._reader.feed(data)
            self._receive(iter(self._reader.gets, _NOTHING))
        except Exception as error:  # noqa: BLE001 - raised again where it is waited for
            _end(self._over, error)
            self._transport.abort()

    def connection_lost(self, error: Exception | None) -> None:
        """The connection is no more."""
        _end(self._over, error or ConnectionError("the server closed the connection"))
        self._before.connection_lost(error)


def _end(over: "asyncio.Future[None]", error: Exception) -> None:
    if not over.done():
        over.set_exception(error)

"""What Channels asks of the server of one connection, and what it gets from an unknown one."""

import importlib.metadata
import logging
from typing import Any, ClassVar, Self

from ..scopes import shares_connection
from ..types import Message, Receive, Scope, Send
from .tcp import acknowledged, acknowledged_by_address, unsent, unsent_by_address

__all__ = [
    "SETTLED",
    "Server",
    "Shutdown",
    "TransportServer",
    "require",
    "serves",
    "tell_unexpected",
]

logger = logging.getLogger("channels.servers")

#: Seconds after the startup when a process gets ready to be told to end. By then Granian runs its
#: event loop anew for the connections, and Hypercorn waits for its shutdown.
SETTLED = 0.2

# What was logged: the server's package, and what does not work.
_told: set[tuple[str, str]] = set()


class Server:
    """The server of one connection. This class itself stands for an unknown server.

    Args:
        scope: the connection's.
        send: what a consumer sends with.
    """

    #: The package of the server, as it is installed.
    package: ClassVar[str] = ""

    #: How the names of the modules begin that define the classes of its objects.
    modules: ClassVar[tuple[str, ...]] = ()

    #: What does not work where its objects are not as expected, for the log.
    otherwise: ClassVar[str] = ""

    #: Whether closing a WebSocket may wait until no task receives from it.
    close_waits_for_receive: ClassVar[bool] = True

    __slots__ = ("_scope", "_send")

    def __init__(self, scope: Scope, send: Send) -> None:
        self._scope = scope
        self._send = send

    @classmethod
    def of(cls, here: Any, scope: Scope, send: Send, receive: Receive | None) -> Self | None:
        """The adapter for the object ``here`` of the server; None if it serves another connection.

        Raises:
            Exception: the object is not as it was in the versions of the server that are known.
        """
        raise NotImplementedError

    def begin(self) -> bool:
        """The connection begins. Called before anything is sent.

        Returns:
            Whether the server needs help to wait for its client: to send and to hold then goes
            through :meth:`send` and :meth:`hold`.
        """
        return False

    async def send(self, message: Message) -> None:
        """Send ``message`` when the client has taken enough of what was sent before.

        Raises:
            OSError: the client has gone.
        """
        await self._send(message)

    def hold(self, held: bool) -> None:
        """Stop reading the client, or go on. Of a server that reads when it is asked to."""

    def abort(self) -> bool:
        """Break the connection at once, without sending what waits. Returns whether it could.

        An application cannot do it with ASGI: closing a WebSocket waits for a client that reads,
        and uvicorn and Hypercorn keep the socket when the application has returned.
        """
        return False

    def break_off(self) -> bool:
        """See to it that a response which has no end is seen to have none.

        Returns:
            Whether the connection is ended after what was sent. Most servers do so by themselves
            when the application returns.
        """
        return True

    def taken(self) -> int | None:
        """A figure that grows while the client takes what it is sent; None where there is none.

        On Linux it is the bytes that the client's system has acknowledged, which it stops to do
        when its buffer is full because the client does not read.
        """
        return None if shares_connection(self._scope) else acknowledged_by_address(self._scope)

    def unsent(self) -> int | None:
        """Bytes that are kept for the client, which has not acknowledged them; None if unknown."""
        return None if shares_connection(self._scope) else unsent_by_address(self._scope)


class TransportServer(Server):
    """A server whose objects lead to a transport of asyncio.

    Args:
        scope: the connection's.
        send: what a consumer sends with.
        transport: the connection's; None if other requests share it.
    """

    otherwise = "clients that do not read are sent nothing more, but stay connected"
    close_waits_for_receive = False

    __slots__ = ("_transport",)

    def __init__(self, scope: Scope, send: Send, transport: Any) -> None:
        super().__init__(scope, send)
        if transport is not None:
            require(transport, "abort", "get_extra_info", "get_write_buffer_size")
        self._transport = transport

    def abort(self) -> bool:
        """Break the connection at once, without sending what waits. Returns whether it could."""
        if self._transport is None:
            return False
        self._transport.abort()
        return True

    def taken(self) -> int | None:
        """A figure that grows while the client takes what it is sent; None where there is none.

        Where it is not the bytes that the client's system has acknowledged, it is what the kernel
        has taken from the transport: the kernel's buffer hides a part of the progress.
        """
        if self._transport is None:
            return None
        figure = acknowledged(self._transport.get_extra_info("socket"))
        return -self._buffered() if figure is None else figure

    def unsent(self) -> int | None:
        """Bytes that the transport and the kernel keep for the client; None if unknown."""
        if self._transport is None:
            return None
        return self._buffered() + (unsent(self._transport.get_extra_info("socket")) or 0)

    def _buffered(self) -> int:
        size: int = self._transport.get_write_buffer_size()
        return size


class Shutdown:
    """Notices the beginning of a server's shutdown. This class is for servers that use SIGTERM.

    For a server that tells its worker processes in another way there is a subclass.
    """

    #: Whether SIGTERM begins it.
    by_signal: ClassVar[bool] = True

    #: Whether it has begun without SIGTERM.
    begun: bool = False

    def is_by_parent(self) -> bool:
        """Whether SIGTERM says nothing new: it is how the parent process ends its workers."""
        return False

    async def settle(self) -> None:
        """Wait until this process knows what its parent knows."""


def serves(scope: Scope, receive: Receive | None, *, headers: Any, source: Any) -> bool:
    """Whether a server's object serves the connection of ``scope`` and ``receive``.

    Middleware hands on copies of the scope, with addresses and headers of its own, or a
    ``receive`` of its own; rarely both.

    Args:
        scope: the connection's.
        receive: the connection's.
        headers: the list that the object has put into its scope.
        source: what the object's ``receive`` is a method of.
    """
    if headers is not None and headers is scope.get("headers"):
        return True
    return source is not None and getattr(receive, "__self__", None) is source


def require(here: Any, *names: str) -> None:
    """Make sure that an object of a server has these attributes.

    Raises:
        AttributeError: one of them is missing.
    """
    for name in names:
        getattr(here, name)


def tell_unexpected(package: str, why: str, otherwise: str) -> None:
    """Log, once, that a server is not as it was in the versions that are known.

    Args:
        package: the server's.
        why: what is not as expected.
        otherwise: what does not work because of that.
    """
    if (package, otherwise) in _told:
        return
    _told.add((package, otherwise))
    try:
        version = importlib.metadata.version(package)
    except importlib.metadata.PackageNotFoundError:
        version = "(unknown version)"
    logger.warning(
        "%s %s is not as Channels knows it (%s): %s. Another version of either may help",
        package,
        version,
        why,
        otherwise,
    )

"""What the kernel knows of a TCP connection, which servers do not tell."""

import math
import os
import socket
import stat
import struct
import sys
import time
from collections.abc import Callable
from typing import Any

from .. import clock
from ..types import Scope

__all__ = ["acknowledged", "acknowledged_by_address", "unsent", "unsent_by_address"]

_ON_LINUX = sys.platform == "linux" and hasattr(socket, "TCP_INFO")

# Linux's struct tcp_info (include/uapi/linux/tcp.h, since 4.1) up to tcpi_bytes_acked.
_TCP_INFO = struct.Struct("=120xQ")

# To find which sockets a process has takes some 10 microseconds for each. Where one is missing they
# are looked for again after that many times as long, which makes it 2 % of a thread at most, and
# after at least so many seconds. The sockets of those behind some proxies are never found.
_REST = 50
_SHORTEST_REST = 0.25

# What the ioctl SIOCOUTQ (tcp(7)) writes.
_INT = struct.Struct("=i")

_DESCRIPTORS = "/proc/self/fd"


def acknowledged(connection: Any) -> int | None:
    """Bytes that the other side of a TCP connection has acknowledged; None if unknown.

    A system acknowledges what its buffer holds. So the figure stands still, a moment after the
    other side has stopped to read.
    """
    if not _ON_LINUX or connection is None:
        return None
    try:
        info = connection.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, _TCP_INFO.size)
        figure: int = _TCP_INFO.unpack(info)[0]
    except (OSError, struct.error, AttributeError):  # no TCP, or an old kernel
        return None
    return figure


def unsent(connection: Any) -> int | None:
    """Bytes that the kernel keeps for the other side of a TCP connection; None if unknown.

    The other side has not acknowledged them, whether or not they are under way.
    """
    if not _ON_LINUX or connection is None:
        return None
    import fcntl  # noqa: PLC0415 - not every system has these
    import termios  # noqa: PLC0415

    try:
        found = fcntl.ioctl(connection.fileno(), termios.TIOCOUTQ, bytes(_INT.size))
        figure: int = _INT.unpack(found)[0]
    except (OSError, ValueError, AttributeError):  # no TCP, or closed
        return None
    return figure


def acknowledged_by_address(scope: Scope) -> int | None:
    """:func:`acknowledged` for servers that are not written in Python, and show no sockets.

    Of the connection that has the scope's ``client`` and ``server``, if there is one.
    """
    return _by_address(scope, acknowledged)


def unsent_by_address(scope: Scope) -> int | None:
    """:func:`unsent` in the same way."""
    return _by_address(scope, unsent)


def _by_address(scope: Scope, ask: Callable[[Any], int | None]) -> int | None:
    if not _ON_LINUX:
        return None
    try:
        (client, client_port), (server, server_port) = scope["client"][:2], scope["server"][:2]
        wanted = client, int(client_port), server, int(server_port)  # some write texts
    except (KeyError, TypeError, ValueError):  # of a Unix socket, or of no server
        return None
    connection = _connection(_known.get(wanted), wanted)
    if connection is None:  # it is not known yet, or was another's
        connection = _connection(_find().get(wanted), wanted)
    if connection is None:
        return None
    try:
        return ask(connection)
    finally:
        connection.detach()


def _connection(descriptor: int | None, wanted: tuple[Any, ...]) -> socket.socket | None:
    """The socket of that descriptor, if its addresses are those; it is to be detached again."""
    connection = None if descriptor is None else _open(descriptor)
    if connection is not None and _addresses(connection) != wanted:
        connection.detach()
        return None
    return connection


# Descriptors by the addresses of the client and the server, and when they may be found again.
_known: dict[tuple[Any, ...], int] = {}
_rests_until = -math.inf


def _find() -> dict[tuple[Any, ...], int]:
    """The descriptors of this process's connections."""
    global _rests_until  # noqa: PLW0603 - of the process
    if clock.now() >= _rests_until:
        begun = time.thread_time()
        _known.clear()
        for name in os.listdir(_DESCRIPTORS):  # noqa: PTH208 - only the names are wanted
            connection = _open(int(name))
            if connection is not None:
                addresses = _addresses(connection)
                connection.detach()
                if addresses is not None:
                    _known[addresses] = int(name)
        rest = max(_SHORTEST_REST, _REST * (time.thread_time() - begun))
        _rests_until = clock.now() + rest
    return _known


def _open(descriptor: int) -> socket.socket | None:
    """A socket of that descriptor, which is to be detached again."""
    try:
        if not stat.S_ISSOCK(os.fstat(descriptor).st_mode):
            return None
        return socket.socket(fileno=descriptor)
    except OSError:  # it has been closed meanwhile
        return None


def _addresses(connection: socket.socket) -> tuple[Any, ...] | None:
    try:
        return (*connection.getpeername()[:2], *connection.getsockname()[:2])
    except OSError:  # it is not connected
        return None

"""What is behind a server's ``send``, for what ASGI has no words for.

An application cannot break a connection: closing a WebSocket waits for a client that reads, and
uvicorn and Hypercorn keep the socket when the application has returned. Nor can it see whether a
client that is slow reads at all. Both can be had where the server's own objects lead to the
transport. Where they do not, because the server is another or the connection is shared (HTTP/2),
all is left as it is.
"""

import functools
from collections.abc import Callable, Iterator
from types import FunctionType, MethodType
from typing import Any

from .sockets import acknowledged, acknowledged_by_address
from .types import Scope, Send

__all__ = ["abort", "find", "taken"]

# How servers and middleware refer to what is behind them.
_NEXT = ("real_send", "send", "writer")
_MOST = 30  # objects looked at

_LAYERS = 4  # of Twisted's transports: HTTP, TLS, TCP


def find(send: Send, is_wanted: Callable[[Any], bool]) -> Any:
    """The nearest object behind ``send`` that ``is_wanted``, or None."""
    queue: list[Any] = [send]
    for looked_at in range(_MOST):
        if looked_at == len(queue):
            break
        here = queue[looked_at]
        try:
            if is_wanted(here):
                return here
            for value in _behind(here):
                if not any(value is known for known in queue):
                    queue.append(value)
        except Exception:  # noqa: BLE001, S112 - whatever attributes of somebody's object raise
            continue
    return None


def _behind(here: Any) -> Iterator[Any]:
    if isinstance(here, functools.partial):
        yield from (here.func, *here.args)
    elif isinstance(here, MethodType):
        yield here.__self__
    elif isinstance(here, FunctionType):
        for cell in here.__closure__ or ():
            try:
                value = cell.cell_contents
            except ValueError:  # it is empty
                continue
            if callable(value):
                yield value
    else:
        for name in _NEXT:
            value = getattr(here, name, None)
            if value is not None:
                yield value


def _has_transport(here: Any) -> bool:
    transport = getattr(here, "transport", None)
    return hasattr(transport, "abort") or hasattr(transport, "abortConnection")


def _is_shared(scope: Scope) -> bool:
    """Whether other requests may share the connection."""
    return str(scope.get("http_version", "1.1")) not in {"1.0", "1.1"}


def _transport_of(scope: Scope, send: Send) -> Any:
    """The transport of asyncio or of Twisted, or None."""
    if _is_shared(scope):
        return None
    return getattr(find(send, _has_transport), "transport", None)


def abort(scope: Scope, send: Send) -> bool:
    """Break the connection at once, without sending what waits; whether that could be done."""
    transport = _transport_of(scope, send)
    if transport is None:
        return False
    (getattr(transport, "abort", None) or transport.abortConnection)()
    return True


def taken(scope: Scope, send: Send) -> int | None:
    """A figure that grows while the client takes what it is sent, or None where there is none.

    On Linux it is the bytes that the client's system has acknowledged, which it stops to do when
    its buffer is full because the client does not read. Elsewhere it is what the kernel has taken
    of asyncio's transports: the kernel's buffer hides a part of the progress.
    """
    if _is_shared(scope):
        return None
    transport = _transport_of(scope, send)
    if transport is None:
        return acknowledged_by_address(scope)
    figure = acknowledged(_socket_of(transport))
    if figure is not None:
        return figure
    measure = getattr(transport, "get_write_buffer_size", None)
    return None if measure is None else -measure()


def _socket_of(transport: Any) -> Any:
    """The socket of a transport of asyncio or of Twisted, or None."""
    get_extra_info = getattr(transport, "get_extra_info", None)
    if get_extra_info is not None:
        return get_extra_info("socket")
    for _ in range(_LAYERS):
        handle = getattr(transport, "socket", None)
        if handle is not None:
            return handle
        transport = getattr(transport, "transport", None)  # HTTP's, and TLS's, have another inside
    return None

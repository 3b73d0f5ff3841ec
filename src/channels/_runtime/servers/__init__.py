"""What Channels does for, and because of, particular servers: a module for each of them.

A connection's adapter is a :class:`Server`, which says what can be asked of it, and what an unknown
server does; ``uvicorn.py``, ``hypercorn.py``, ``daphne.py`` and ``granian.py`` say what is
different there. It is chosen once for a connection, when it is first needed. Servers are recognised
by the modules that the objects behind ``send`` come from, and an object is used if it serves this
connection: middleware may lead to another client's as well.
"""

import asyncio
import sys
from collections.abc import Callable

from ..types import Receive, Scope, Send
from .base import SETTLED, Server, Shutdown, tell_unexpected
from .daphne import MODULE, Daphne
from .granian import Granian
from .hypercorn import WEBSOCKETS, Hypercorn, WorkerShutdown
from .search import found_behind
from .uvicorn import Uvicorn, after_denial

__all__ = [
    "SETTLED",
    "Server",
    "Shutdown",
    "adapter_for",
    "after_denial",
    "begins_with_help",
    "watch_shutdown",
]

_ADAPTERS: tuple[type[Server], ...] = (Uvicorn, Hypercorn, Daphne, Granian)


def adapter_for(scope: Scope, send: Send, receive: Receive | None) -> Server:
    """The adapter for the server of one connection.

    If the server's objects are not as expected, the log says so once, and the server is unknown.

    Args:
        scope: the connection's, or what middleware has made of it.
        send: likewise.
        receive: likewise.
    """
    for here, adapter in found_behind(send, _recognise):
        try:
            found = adapter.of(here, scope, send, receive)
        except Exception as error:  # noqa: BLE001 - of objects that are not as expected
            why = f"{type(here).__qualname__}: {type(error).__name__}: {error}"
            tell_unexpected(adapter.package, why, adapter.otherwise)
        else:
            if found is not None:
                return found
    return Server(scope, send)


def _recognise(kind: type) -> type[Server] | None:
    """The adapter for objects of that class, which may be a project's subclass of a server's."""
    for base in kind.__mro__:
        for adapter in _ADAPTERS:
            if str(base.__module__).startswith(adapter.modules):
                return adapter
    return None


def begins_with_help(scope: Scope) -> bool:
    """Whether the adapter may have something to do before the first message: :meth:`Server.begin`.

    Where it has not, it need not be chosen before it is needed.
    """
    if scope["type"] not in {"websocket", "http"}:
        return False
    return MODULE in sys.modules or WEBSOCKETS in sys.modules


def watch_shutdown(loop: asyncio.AbstractEventLoop, begins: Callable[[], object]) -> Shutdown:
    """Call ``begins`` when the server's shutdown begins, where no signal tells of it."""
    watched = WorkerShutdown.watch(loop, begins) if "hypercorn" in sys.modules else None
    return watched or Shutdown()

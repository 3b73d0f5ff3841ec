"""uvicorn.

- It keeps the socket of a client that does not read, even when the application has returned. So
  the connection is broken at its transport.
- It closes a handshake that got a denial response in the turn of its event loop that follows the
  last part, and takes an application for broken that has returned by then.
- It gives clients 10 s to answer the closing handshake.
- It raises a subclass of ``OSError`` at what is sent after the disconnect, as ASGI says.
- SIGTERM begins its shutdown, in each worker. A parent process looks twice a second whether it has
  been told to end, and then sends SIGTERM to workers that may have got one already.

What is used of its objects, which are private: ``scope`` and ``transport`` of its protocols for
WebSockets, and of the ``RequestResponseCycle`` of its protocols for HTTP. Checked with uvicorn
0.34 to 0.54, each with websockets, wsproto, httptools and h11.
"""

import asyncio
from typing import Any, Self

from ..scopes import shares_connection
from ..types import Receive, Scope, Send
from .base import TransportServer, serves

__all__ = ["Uvicorn", "after_denial"]


class Uvicorn(TransportServer):
    """A connection of uvicorn."""

    package = "uvicorn"
    modules = ("uvicorn.protocols.",)

    __slots__ = ()

    @classmethod
    def of(cls, here: Any, scope: Scope, send: Send, receive: Receive | None) -> Self | None:
        """The adapter for one of its protocols, or for one request and its response."""
        if not serves(scope, receive, headers=here.scope["headers"], source=here):
            return None
        return cls(scope, send, None if shares_connection(scope) else here.transport)


async def after_denial() -> None:
    """Let uvicorn close a handshake that got a whole denial response, before the caller returns.

    For every server: middleware may hide which one it is.
    """
    await asyncio.sleep(0)

"""A WebSocket that answers one ping, so that a probe tests the same path as a real connection."""

import asyncio
import contextlib

from ..._runtime.types import Receive, Scope, Send
from ...exceptions import ScopeError

__all__ = ["LIFETIME", "LIMIT", "WebSocketProbe"]

# Seconds that a probe may stay.
LIFETIME = 5.0

# Probes that may be there at the same time.
LIMIT = 100

# Seconds that closing may take, of a client that does not read.
_CLOSING = 1.0

# Codes for private use (RFC 6455, section 7.4.2), named after HTTP's statuses. Those that the
# protocol defines do not all pass every server.
_NOT_A_PING, _TOO_LATE = 4400, 4408


class WebSocketProbe:
    """An ASGI application that accepts, answers the text ``ping`` with ``pong``, and closes.

    Route it where your WebSockets are, behind the same middleware, so that what reaches it
    reaches them too: proxy, upgrade, origin, routing. It uses neither a channel layer nor a
    database; the readiness check covers those.

    A client may send one message, within some seconds. Anything but ``ping`` is closed with 4400,
    silence with 4408. When there are too many clients, the one that has been connected longest is
    closed: if new ones were refused, idle strangers could keep out the load balancer.

    Args:
        lifetime: seconds that a client may stay.
        limit: clients that may be there at the same time.
    """

    def __init__(self, *, lifetime: float = LIFETIME, limit: int = LIMIT) -> None:
        self._lifetime = lifetime
        self._limit = limit
        # What ends each client's stay, the oldest first.
        self._stays: dict[asyncio.Timeout, None] = {}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Talk to one client."""
        if scope["type"] != "websocket":
            raise ScopeError(f"WebSocketProbe serves WebSockets, not {scope['type']!r}.")
        # Some servers raise when the client has disconnected, others do not.
        with contextlib.suppress(OSError):
            try:
                async with asyncio.timeout(self._lifetime) as stay:
                    self._make_room()
                    self._stays[stay] = None
                    try:
                        await _talk(receive, send)
                    finally:
                        self._stays.pop(stay, None)
            except TimeoutError:
                async with asyncio.timeout(_CLOSING):
                    await send({"type": "websocket.close", "code": _TOO_LATE})

    def _make_room(self) -> None:
        while len(self._stays) >= self._limit:
            oldest = next(iter(self._stays))
            del self._stays[oldest]
            if not oldest.expired():
                oldest.reschedule(0)


async def _talk(receive: Receive, send: Send) -> None:
    await receive()  # websocket.connect
    await send({"type": "websocket.accept"})
    event = await receive()
    if event["type"] == "websocket.disconnect":
        return
    pinged = event.get("text") == "ping"
    if pinged:
        await send({"type": "websocket.send", "text": "pong"})
    await send({"type": "websocket.close", "code": 1000 if pinged else _NOT_A_PING})

"""Daphne.

- Its ``send`` never waits for a client, and it reads on whether the application does or not. So
  each WebSocket gets a producer at Twisted's transport, which is told when there is room, and is
  not read while the consumer does not receive. A response gets a producer at its request.
- It drops empty messages, the headers of ``websocket.accept`` and the reasons of closes, and
  autobahn refuses the close codes that the WebSocket protocol defines for servers: it takes 1000,
  and 3000 to 4999. So these go to autobahn without Daphne.
- What is sent after the disconnect makes autobahn raise ``Disconnected``, a ``RuntimeError``.
- It leaves a connection open when the application returns without closing the socket, or in the
  middle of a response.
- It sends no lifespan events. SIGTERM begins its shutdown; there is one process.

What is used of its objects, which are private: ``clean_headers``, ``application_queue`` and
``transport`` of its ``WebSocketProtocol`` and ``WebRequest``. What is used of autobahn's
``WebSocketServerProtocol`` and of Twisted's transports is public but for ``state``; a transport's
``socket``, and the ``transport`` within one, are not. Checked with Daphne 4.1 and 4.2.
"""

import asyncio
from typing import Any, Self

from ..scopes import shares_connection
from ..types import Message, Receive, Scope, Send
from .base import Server, require, serves
from .tcp import acknowledged, unsent

__all__ = ["MODULE", "Daphne"]

#: Imported wherever Daphne serves WebSockets, and where it is installed as an app.
MODULE = "daphne.ws_protocol"

# RFC 6455, section 5.5: what a close frame holds beside the code.
_LONGEST_REASON = 123  # bytes

_LAYERS = 4  # of Twisted's transports: HTTP, TLS, TCP


class Daphne(Server):
    """A connection of Daphne.

    It is a push producer to Twisted's transport, which pauses it when 64 KiB wait to be sent and
    resumes it when none do.

    Args:
        scope: the connection's.
        send: what a consumer sends with.
        protocol: of a WebSocket, an autobahn ``WebSocketServerProtocol``; else None.
        transport: the connection's; None if other requests share it.
        request: that of a response, a ``twisted.web.http.Request``; else None.
    """

    package = "daphne"
    modules = (MODULE, "daphne.http_protocol")
    otherwise = "sending does not wait for clients that do not read, so it takes memory for them"
    close_waits_for_receive = False

    __slots__ = ("_protocol", "_request", "_room", "_transport")

    def __init__(
        self, scope: Scope, send: Send, protocol: Any, transport: Any, request: Any = None
    ) -> None:
        super().__init__(scope, send)
        if transport is not None:
            require(transport, "abortConnection")
        if protocol is not None:
            require(protocol, "state", "STATE_OPEN", "sendMessage", "sendCloseFrame")
            require(transport, "registerProducer", "unregisterProducer", "disconnecting")
            require(transport, "pauseProducing", "resumeProducing")
        if request is not None:
            require(request, "channel", "registerProducer", "unregisterProducer")
        self._protocol = protocol
        self._request = request
        self._transport = transport
        self._room: asyncio.Future[None] | None = None

    @classmethod
    def of(cls, here: Any, scope: Scope, send: Send, receive: Receive | None) -> Self | None:
        """The adapter for one of its WebSockets or requests."""
        if not serves(scope, receive, headers=here.clean_headers, source=here.application_queue):
            return None
        if any(base.__module__ == MODULE for base in type(here).__mro__):
            return cls(scope, send, here, here.transport)
        return cls(scope, send, None, None if shares_connection(scope) else here.transport, here)

    def begin(self) -> bool:
        """Register as the producer of a WebSocket; a response gets one with its first part."""
        if self._protocol is not None:
            # Registered so far is the HTTP channel, which has nothing more to produce.
            self._transport.unregisterProducer()
            self._transport.registerProducer(self, True)
        return True

    async def send(self, message: Message) -> None:
        """Hand over ``message`` when the transport has room.

        Raises:
            ConnectionError: the client has gone.
        """
        while self._room is not None:
            await asyncio.shield(self._room)
        try:
            if self._request is not None:
                self._produce(message)
            await self._hand_over(message)
        except RuntimeError as error:
            if type(error).__name__ != "Disconnected":  # autobahn's
                raise
            raise ConnectionError("The client has gone") from error

    def _produce(self, message: Message) -> None:
        """Be the producer of a response from its beginning to its end."""
        message_type: str = message["type"]
        if self._request.channel is None:
            return  # the client has gone
        if message_type in {"http.response.start", "websocket.accept"}:
            self._request.registerProducer(self, True)
        elif message_type == "websocket.close" or (
            message_type.endswith("response.body") and not message.get("more_body")
        ):
            self._request.unregisterProducer()

    async def _hand_over(self, message: Message) -> None:
        protocol, message_type = self._protocol, message["type"]
        if protocol is None:
            await self._send(message)
        elif message_type == "websocket.send" and not (message.get("text") or message.get("bytes")):
            if protocol.state == protocol.STATE_OPEN:
                protocol.sendMessage(b"", message.get("text") is None)
        elif message_type == "websocket.close" and protocol.state == protocol.STATE_OPEN:
            reason = (message.get("reason") or "").encode()[:_LONGEST_REASON]
            reason = reason.decode(errors="ignore").encode()  # no half of a character
            protocol.sendCloseFrame(message.get("code") or 1000, reason or None)
        elif message_type == "websocket.accept" and message.get("headers"):
            # Daphne hands it on to autobahn, which takes a pair as well.
            accepted = message.get("subprotocol"), _as_dict(message["headers"])
            await self._send({"type": message_type, "subprotocol": accepted})
        else:
            await self._send(message)

    def hold(self, held: bool) -> None:
        """Stop reading the client of a WebSocket, or go on."""
        if self._protocol is None:
            return  # Daphne has the whole request
        if held:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()

    def abort(self) -> bool:
        """Break the connection at once, without sending what waits. Returns whether it could."""
        if self._transport is None:
            return False
        self._transport.abortConnection()
        return True

    def break_off(self) -> bool:
        """End the connection after what was sent: Daphne leaves it open."""
        if self._transport is None or self._request is None or self._request.channel is None:
            return False
        self._request.unregisterProducer()
        self._request.channel.loseConnection()
        return True

    def taken(self) -> int | None:
        """The bytes that the client's system has acknowledged; None where that is unknown."""
        return acknowledged(_socket_of(self._transport))

    def unsent(self) -> int | None:
        """Bytes that the kernel keeps for the client; None if unknown."""
        return unsent(_socket_of(self._transport))

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport has had enough."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport has room."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._protocol is not None and self._transport.disconnecting:
            # It closes when it has nothing to send, unless it has just asked a producer for more.
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost: what waits to send learns that from the server."""
        self.resumeProducing()


def _as_dict(headers: Any) -> dict[str, list[str]]:
    """Headers as autobahn takes them."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return values


def _socket_of(transport: Any) -> Any:
    """The socket of a transport of Twisted, or None."""
    for _ in range(_LAYERS):
        handle = getattr(transport, "socket", None)
        if handle is not None:
            return handle
        transport = getattr(transport, "transport", None)  # HTTP's, and TLS's, have another inside
    return None

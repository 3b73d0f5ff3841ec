"""What Daphne does not do with WebSockets, done for it.

Its ``send`` never waits, whether the client reads or not, and it reads on whether the application
does or not. It drops empty messages, the headers of ``websocket.accept``, the reasons of closes,
and refuses the close codes that the WebSocket protocol defines for servers.
"""

import asyncio
import sys
from typing import Any

from .transports import find
from .types import Message, Scope, Send

__all__ = ["DaphneSocket", "find_socket"]

# RFC 6455, section 5.5: what a close frame holds beside the code.
_LONGEST_REASON = 123  # bytes


def find_socket(scope: Scope, send: Send) -> "DaphneSocket | None":
    """The socket behind ``send``, if the server is Daphne."""
    if "daphne.ws_protocol" not in sys.modules or scope["type"] != "websocket":
        return None
    protocol = find(send, _is_protocol)
    return None if protocol is None else DaphneSocket(protocol, send)


def _is_protocol(here: Any) -> bool:
    return hasattr(here, "serverAccept") and hasattr(
        getattr(here, "transport", None), "registerProducer"
    )


class DaphneSocket:
    """Sends to a WebSocket of Daphne as the ASGI specification says.

    It is a push producer to Twisted's transport, which pauses it when 64 KiB wait to be sent and
    resumes it when none do.

    Args:
        protocol: Daphne's, an autobahn ``WebSocketServerProtocol``.
        send: what leads to it.
    """

    __slots__ = ("_protocol", "_room", "_send", "_transport")

    def __init__(self, protocol: Any, send: Send) -> None:
        self._protocol = protocol
        self._transport = protocol.transport
        self._send = send
        self._room: asyncio.Future[None] | None = None
        # Registered so far is the HTTP channel, which has nothing more to produce.
        self._transport.unregisterProducer()
        self._transport.registerProducer(self, True)

    async def send(self, message: Message) -> None:
        """Hand over ``message`` when the transport has room.

        Raises:
            ConnectionError: the client has gone.
        """
        while self._room is not None:
            await asyncio.shield(self._room)
        try:
            await self._hand_over(message)
        except RuntimeError as error:
            if type(error).__name__ != "Disconnected":  # autobahn's
                raise
            raise ConnectionError("The client has gone") from error

    async def _hand_over(self, message: Message) -> None:
        protocol, message_type = self._protocol, message["type"]
        if message_type == "websocket.send" and not (message.get("text") or message.get("bytes")):
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
        """Stop reading the client, or go on."""
        if held:
            self._transport.pauseProducing()
        else:
            self._transport.resumeProducing()

    def pauseProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport has had enough."""
        if self._room is None:
            self._room = asyncio.get_running_loop().create_future()

    def resumeProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The transport has room."""
        room, self._room = self._room, None
        if room is not None and not room.done():
            room.set_result(None)
        if self._transport.disconnecting:
            # It closes when it has nothing to send, unless it just asked somebody to produce.
            self._transport.unregisterProducer()

    def stopProducing(self) -> None:  # noqa: N802 - Twisted's name
        """The connection is lost: whoever waits finds out from the server."""
        self.resumeProducing()


def _as_dict(headers: Any) -> dict[str, list[str]]:
    """Headers as autobahn takes them."""
    values: dict[str, list[str]] = {}
    for name, value in headers:
        values.setdefault(name.decode("latin-1"), []).append(value.decode("latin-1"))
    return values

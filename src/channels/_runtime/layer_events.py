"""Client events that come through the channel layer instead of from the server."""

from typing import Any, TypeGuard

from ..exceptions import UnknownMessageType
from .types import Message

__all__ = ["CLIENT_EVENTS", "DISCONNECT", "client_event"]

# RFC 6455, section 7.4.1: codes that are never in a close frame.
_NEVER_SENT = {1004, 1005, 1006, 1015}

#: The type of the message that ends a connection of a client, whatever its protocol.
DISCONNECT = "channels.disconnect"

#: The types of what a client does, in both spellings that handlers know them by.
CLIENT_EVENTS = frozenset(
    {
        "websocket.receive",
        "websocket_receive",
        "websocket.disconnect",
        "websocket_disconnect",
        "websocket.connect",
        "websocket_connect",
        "http.disconnect",
        "http_disconnect",
        DISCONNECT,
    }
)


def client_event(message: Message, protocol: str) -> Message:
    """A layer message with a type of :data:`CLIENT_EVENTS`, as the server would send it.

    Args:
        message: the message.
        protocol: the type of the connection's scope. In another protocol than the event's, the
            type is an ordinary name, and the message is returned as it is.

    Raises:
        UnknownMessageType: it cannot have happened: a handshake has no second beginning, and a
            frame has a text or bytes.
    """
    event: str = message["type"].replace("_", ".", 1)
    if event == DISCONNECT and protocol in {"websocket", "http"}:
        event = f"{protocol}.disconnect"
    if protocol != event.partition(".")[0]:
        return message
    if event == "websocket.connect":
        raise UnknownMessageType(f"{event} comes from the server, and once")
    if event == "websocket.receive" and not _has_data(message):
        raise UnknownMessageType(f"{event} has neither a text nor bytes")
    if event.endswith(".disconnect"):
        code = message.get("code")
        return {**message, "type": event, "code": code if _may_close_with(code) else 1000}
    return {**message, "type": event}


def _may_close_with(code: Any) -> TypeGuard[int]:
    """Whether an application can close a WebSocket with ``code`` (RFC 6455, section 7.4)."""
    return type(code) is int and 1000 <= code < 5000 and code not in _NEVER_SENT


def _has_data(message: Message) -> bool:
    """Whether ``message`` has what a frame has: a text, or bytes."""
    return isinstance(message.get("text"), str) or isinstance(message.get("bytes"), bytes)

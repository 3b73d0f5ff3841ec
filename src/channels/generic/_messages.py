"""The messages of the WebSocket and HTTP protocols: what sync and async consumers share."""

from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from typing import Any

from .._runtime.faults import blame_client
from .._runtime.scopes import from_server
from ..layers.values import is_text

__all__ = [
    "accept_message",
    "as_header_pairs",
    "binary_where_text_expected",
    "close_message",
    "received_data",
    "send_message",
    "unwanted",
]

# RFC 6455, section 7.4.1
UNSUPPORTED_DATA = 1003
INVALID_PAYLOAD = 1007


def accept_message(consumer: Any, subprotocol: str | None, headers: Any) -> dict[str, Any]:
    """Accept the handshake, with a subprotocol and headers if there are any.

    Servers want pairs of bytes. A test gets the pairs as ``consumer`` gave them.
    """
    message: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol}
    if headers:
        as_given = not isinstance(headers, Mapping) and not from_server(
            getattr(consumer, "scope", {})
        )
        message["headers"] = list(headers) if as_given else as_header_pairs(headers)
    return message


def received_data(message: Mapping[str, Any]) -> dict[str, Any]:
    """The one keyword argument that ``receive`` is called with.

    Servers leave the other key out or set it to None; an empty frame is neither.
    """
    text = message.get("text")
    if text is not None:
        return {"text_data": text}
    return {"bytes_data": message.get("bytes")}


def unwanted(receive: Callable[..., Any], data: dict[str, Any]) -> bool:
    """Whether an overridden ``receive`` does not take the kind of frame that the client sent."""
    try:
        signature(receive).bind(**data)
    except TypeError:
        return True
    return False


def send_message(text_data: str | None, bytes_data: bytes | None) -> dict[str, Any]:
    """One frame of text or bytes.

    Raises:
        ValueError: there is neither, or the text cannot be encoded: not every server says so.
    """
    if text_data is not None:
        if type(text_data) is str and not text_data.isascii() and not is_text(text_data):
            raise ValueError(
                "text_data has half a character (a surrogate that stands alone), which no client "
                "can be sent"
            )
        return {"type": "websocket.send", "text": text_data}
    if bytes_data is not None:
        return {"type": "websocket.send", "bytes": bytes_data}
    raise ValueError("You must pass one of bytes_data or text_data")


def close_message(code: "int | bool | None", reason: str | None) -> dict[str, Any]:
    """Close the socket; the server's default code when there is none."""
    message: dict[str, Any] = {"type": "websocket.close"}
    if code is not None and code is not True:
        message["code"] = code
    if reason:
        message["reason"] = reason
    return message


def binary_where_text_expected() -> ValueError:
    """What a JSON consumer raises for a binary frame."""
    error = ValueError("No text section for incoming WebSocket frame!")
    return blame_client(error, UNSUPPORTED_DATA)


def as_header_pairs(
    headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None",
) -> list[tuple[bytes, bytes]]:
    """Headers of a dict or of pairs, as the pairs of bytes that servers want."""
    if headers is None:
        return []
    pairs = headers.items() if isinstance(headers, Mapping) else headers
    return [(_encode(name), _encode(value)) for name, value in pairs]


def _encode(text: "str | bytes") -> bytes:
    return text.encode("latin-1") if isinstance(text, str) else bytes(text)

"""What projects give to ``accept()``, ``send()`` and ``close()`` by mistake, with what to write.

Servers notice these, too, but each in words of its own, about its own code.
"""

import logging
from typing import Any

from .._runtime import lograte
from .._runtime.scopes import from_server

__all__ = ["look_for_offer", "require_bytes", "require_close_code", "require_text"]

logger = logging.getLogger("channels.handshake")


def look_for_offer(consumer: Any, subprotocol: str) -> None:
    """Tell of a subprotocol that the client has not offered: browsers end such a connection."""
    scope = getattr(consumer, "scope", {})
    if subprotocol not in (scope.get("subprotocols") or ()) and from_server(scope):
        name = type(consumer).__qualname__
        lograte.log(
            logger,
            logging.WARNING,
            f"subprotocol of {name}",
            "%s accepts with the subprotocol %r, which the client has not offered, so browsers end "
            "the connection; accept with one of self.scope['subprotocols'], or with None",
            name,
            subprotocol,
        )


def require_text(data: Any) -> None:
    """Check ``text_data`` of ``send()``.

    Raises:
        TypeError: it is no text.
    """
    if not hasattr(data, "encode"):  # translations that wait for a language have it, too
        raise TypeError(f"text_data must be a string, not {_named(data)}")


def require_bytes(data: Any) -> None:
    """Check ``bytes_data`` of ``send()``.

    Raises:
        TypeError: they are no bytes.
    """
    if not isinstance(data, bytes | bytearray | memoryview):
        raise TypeError(f"bytes_data must be bytes, not {_named(data)}")


def require_close_code(code: Any) -> None:
    """Check the code of ``close()``.

    Raises:
        TypeError: it is no number.
    """
    if not isinstance(code, int):
        raise TypeError(
            f"A close code must be a number such as 4000, not {type(code).__name__}; the reason is "
            "another argument: close(4000, reason)"
        )


def _named(data: object) -> str:
    """The type of what is no frame of this kind, and how to send it."""
    if isinstance(data, str):
        advice = "write send(text_data=...)"
    elif isinstance(data, bytes | bytearray | memoryview):
        advice = "write send(bytes_data=...)"
    else:
        advice = "write send(text_data=json.dumps(...)), or send_json(...) of a JSON consumer"
    return f"{type(data).__name__}; {advice}"

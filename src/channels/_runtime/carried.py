"""Text that travels beside a message of the channel layer. No handler sees it in the message.

What traces messages puts it there (:mod:`channels.layers.carriers`), under a key of its own. So it
goes through every layer, serializer and queue that messages go through, and a process of an older
version, which does not know the key, has a message with one more key.
"""

from contextvars import ContextVar
from typing import Any

import msgspec

__all__ = ["KEY", "LARGEST", "carried", "decode", "encode", "put_back", "strip", "take"]

#: The key of a message under which the text travels.
KEY = "__carried__"

#: Characters of the text, at most. Baggage may have 8192 bytes (W3C Baggage, section 3.3.2), which
#: would make most messages many times as large; what does not fit is left out.
LARGEST = 4096

#: What came with the message that is being handled, as it travelled; None for nothing.
carried: ContextVar[str | None] = ContextVar("channels_carried", default=None)

_encode = msgspec.json.Encoder().encode
_decode = msgspec.json.Decoder(dict[str, str]).decode


def encode(found: dict[str, str]) -> str:
    """The text for what is to be carried. What would make it too long is left out."""
    text = _encode(found).decode("utf-8")
    if len(text) <= LARGEST:
        return text
    kept: dict[str, str] = {}
    for name, value in found.items():
        if len(_encode({**kept, name: value})) <= LARGEST:
            kept[name] = value
    return _encode(kept).decode("utf-8")


def decode(text: str | None) -> dict[str, str]:
    """What :func:`encode` was given; empty if there is nothing, or if it is none of ours."""
    if text is None:
        return {}
    try:
        return _decode(text)
    except (msgspec.DecodeError, UnicodeEncodeError):
        return {}


def take(message: Any) -> bool:
    """Take out of a message what it carries, for what is called in this context from now on.

    Returns:
        Whether it carries anything.
    """
    text = message.pop(KEY, None)
    if text != carried.get():  # to set it costs more, and all that is not sampled has the same
        carried.set(text if type(text) is str and len(text) <= LARGEST else None)
    return text is not None


def strip(message: dict[str, Any]) -> dict[str, Any]:
    """A message as it was sent, for a caller of ``receive()``; the rest is in ``carried`` then."""
    if KEY in message or carried.get() is not None:
        take(message)
    return message


def put_back(message: Any) -> Any:
    """Undo :func:`strip`, for a message that is handed on to where it is handled."""
    text = carried.get()
    if text is not None:
        carried.set(None)
        message[KEY] = text
    return message

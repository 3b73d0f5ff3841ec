"""What goes over the socket: the protocol's messages, and JSON as consumers speak it.

Sync and async consumers share it. Python's own module reads and writes more than JSON: ``NaN`` and
``Infinity``, which browsers do not read; halves of characters (surrogates that stand alone), which
cannot be encoded; integers of any size and any depth of nesting, which channel layers do not carry.
A client that sends such a thing is told at once, before the application passes it on.
"""

import json
import re
from collections.abc import Callable, Iterable, Mapping
from inspect import signature
from math import isinf
from typing import Any, NoReturn

from .._runtime.faults import blame_client
from .._runtime.scopes import from_server
from ..close_codes import CloseCode
from ..layers.messages import pack
from ..layers.values import LARGEST, SMALLEST, is_text
from ._mistakes import look_for_offer, require_bytes, require_close_code, require_text

__all__ = [
    "MAX_DEPTH",
    "accept_message",
    "as_header_pairs",
    "binary_where_text_expected",
    "close_message",
    "decode_json",
    "encode_json",
    "received_data",
    "send_message",
    "unencodable",
    "unwanted",
]

UNSUPPORTED_DATA = CloseCode.UNSUPPORTED_DATA.value
INVALID_PAYLOAD = CloseCode.INVALID_PAYLOAD.value


def accept_message(consumer: Any, subprotocol: str | None, headers: Any) -> dict[str, Any]:
    """Accept the handshake, with a subprotocol and headers if there are any.

    Servers want pairs of bytes. A test gets the pairs as ``consumer`` gave them.
    """
    message: dict[str, Any] = {"type": "websocket.accept", "subprotocol": subprotocol}
    if subprotocol is not None:
        look_for_offer(consumer, subprotocol)
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
    """Whether an overridden ``receive`` takes the other kind of frame than the client has sent.

    One that takes neither is a mistake of the project, not of the client.
    """
    other = "bytes_data" if "text_data" in data else "text_data"
    return not _takes(receive, data) and _takes(receive, {other: None})


def _takes(receive: Callable[..., Any], data: dict[str, Any]) -> bool:
    try:
        signature(receive).bind(**data)
    except TypeError:
        return False
    return True


def send_message(text_data: str | None, bytes_data: bytes | None) -> dict[str, Any]:
    """One frame of text or bytes.

    Raises:
        TypeError: the text is no text, or the bytes are no bytes.
        ValueError: there is neither, or the text cannot be encoded: not every server says so.
    """
    if text_data is not None:
        require_text(text_data)
        if type(text_data) is str and not text_data.isascii() and not is_text(text_data):
            raise ValueError(
                "text_data has half a character (a surrogate that stands alone), which no client "
                "can be sent"
            )
        return {"type": "websocket.send", "text": text_data}
    if bytes_data is not None:
        require_bytes(bytes_data)
        return {"type": "websocket.send", "bytes": bytes_data}
    raise ValueError("You must pass one of bytes_data or text_data")


def close_message(code: "int | bool | None", reason: str | None) -> dict[str, Any]:
    """Close the socket; the server's default code when there is none.

    Raises:
        TypeError: the code is no number.
    """
    message: dict[str, Any] = {"type": "websocket.close"}
    if code is not None and code is not True:
        require_close_code(code)
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


# JSON

#: Levels of lists and objects in what a client sends. Channel layers carry 256, so the application
#: can put it into a message, and that into another.
MAX_DEPTH = 200

# Characters of a text that is too short to be nested too deeply.
_SHORT = 2 * MAX_DEPTH

# Each takes away two levels at most.
_TURNS = 10
_NO_BRACKETS = bytes(set(range(256)) - set(b"[]{}"))

_SURROGATE = re.compile(r"\\u[dD][89a-fA-F]")


class _Refused(ValueError):
    """A part of the text that is refused, and why."""

    def __init__(self, reason: str, part: str) -> None:
        super().__init__(reason, part)
        self.reason = reason
        self.part = part


def _integer(digits: str) -> int:
    if len(digits) > 20 or not SMALLEST <= int(digits) <= LARGEST:
        raise _Refused("Integer of more than 64 bits", digits)
    return int(digits)


def _float(digits: str) -> float:
    number = float(digits)
    if isinf(number):
        raise _Refused("Number beyond the largest float", digits)
    return number


def _constant(name: str) -> NoReturn:
    raise _Refused(f"{name} is no JSON", name)


# One looks at each number, which costs a call, and the other leaves them to compiled code.
_decode_short = json.JSONDecoder(
    parse_int=_integer, parse_float=_float, parse_constant=_constant
).decode
_decode_long = json.JSONDecoder(parse_constant=_constant).decode
_as_unicode = json.JSONEncoder(ensure_ascii=False).encode

#: A value as JSON text. Raises TypeError for what JSON does not have, and ValueError for NaN, an
#: infinite float, and what contains itself: see :func:`unencodable`.
encode_json = json.JSONEncoder(allow_nan=False).encode


def decode_json(text: "str | bytes") -> Any:
    """The content of a JSON text.

    Of several equal keys in an object the last one counts, as in browsers.

    Raises:
        json.JSONDecodeError: it is no JSON, or holds what browsers or channel layers do not take;
            says what, and where.
    """
    if not isinstance(text, str):
        text = text.decode(json.detect_encoding(text))
    short = len(text) <= _SHORT
    try:
        content = _decode_short(text) if short else _decode_long(text)
    except _Refused as refused:
        raise _complaint(text, refused) from None
    except RecursionError:
        raise _too_deep(text) from None
    except json.JSONDecodeError:
        raise
    except ValueError:  # Python refuses to read thousands of digits
        raise json.JSONDecodeError("Integer of more than 64 bits", text, 0) from None
    if short:
        if "\\u" in text:
            _refuse_surrogates(text, content)
    elif _may_be_deep(text) and _depth_exceeds(content, MAX_DEPTH):
        raise _too_deep(text)
    elif pack(content) is None:
        _look_at_each_value(text, content)
    return content


def _look_at_each_value(text: str, content: Any) -> None:
    """Say what is wrong in there, if something is."""
    try:
        _decode_short(text)
    except _Refused as refused:
        raise _complaint(text, refused) from None
    _refuse_surrogates(text, content)


def _refuse_surrogates(text: str, content: Any) -> None:
    try:
        _as_unicode(content).encode()
    except UnicodeEncodeError:
        found = _SURROGATE.search(text)
        reason = "Half a character (a surrogate that stands alone)"
        raise json.JSONDecodeError(reason, text, found.start() if found else 0) from None


def _complaint(text: str, refused: _Refused) -> json.JSONDecodeError:
    return json.JSONDecodeError(refused.reason, text, max(text.find(refused.part), 0))


def _too_deep(text: str) -> json.JSONDecodeError:
    return json.JSONDecodeError(f"Nested more than {MAX_DEPTH} levels deep", text, 0)


def _may_be_deep(text: str) -> bool:
    """Whether it takes more than a few turns to take away every pair of brackets with none inside.

    Most texts are not, which this tells sooner than a look at their content.
    """
    brackets = text.encode("utf-8", "surrogatepass").translate(None, _NO_BRACKETS)
    for _ in range(_TURNS):
        if not brackets:
            return False
        brackets = brackets.replace(b"[]", b"").replace(b"{}", b"")
    return True


def _depth_exceeds(content: Any, levels: int) -> bool:
    """Whether there are more levels of lists and objects. It makes no recursive calls."""
    containers = [content] if type(content) in (dict, list) else []
    while containers:
        if levels == 0:
            return True
        levels -= 1
        containers = [
            item
            for container in containers
            for item in (container.values() if type(container) is dict else container)
            if type(item) is dict or type(item) is list
        ]
    return False


def unencodable(error: ValueError) -> ValueError:
    """What to raise instead of an error of :data:`encode_json`, which says too little of NaN."""
    if "JSON compliant" not in str(error):
        return error
    return ValueError(
        "NaN and infinite floats are no JSON, and browsers do not read them; send None or "
        "text, or override encode_json()"
    )

"""What a message may hold. Every value arrives as it was sent, or is refused where it is sent.

Plain values are None, booleans, text, bytes, integers of 64 bits, finite floats, and lists and
dicts of these. An instance of a subclass of one travels as the plain value that it is: a rendered
template as text, an enumeration's member as its text or number. So do tuples, as lists, and other
bytes-like objects, as bytes. What remains is an object, which a layer within one process may carry.
"""

import enum
from collections.abc import Callable
from math import isfinite
from typing import Any

from ..exceptions import SerializationError

__all__ = [
    "LARGEST",
    "MAX_DEPTH",
    "PLAIN",
    "PLAIN_JSON",
    "SMALLEST",
    "TEXT",
    "Convert",
    "is_plain",
    "is_text",
    "json_values",
    "plain",
]

#: Levels of lists and dicts, with the message itself, that every layer carries. So few that copying
#: them takes up no more than a part of the interpreter's stack.
MAX_DEPTH = 256

#: The integers that every layer carries: signed and unsigned ones of 64 bits.
SMALLEST, LARGEST = -(2**63), 2**64 - 1

#: Makes of an object what is to be sent in its place, or raises SerializationError.
Convert = Callable[[Any], Any]

#: Exact types of plain values but for lists and dicts, and of keys.
PLAIN: frozenset[type] = frozenset({bool, bytes, float, int, str, type(None)})
PLAIN_JSON = PLAIN - {bytes}
TEXT: frozenset[type] = frozenset({str})


def is_plain(
    values: Any,
    kinds: frozenset[type] = PLAIN,
    key_kinds: frozenset[type] = PLAIN,
    levels: int = MAX_DEPTH,
) -> bool:
    """Whether a dict, list or tuple holds values of these types only, and no subclasses of them.

    Fast, but it looks at no value itself: text may have surrogates, integers any size, and floats
    may be infinite.
    """
    if type(values) is dict:
        if not key_kinds.issuperset(map(type, values)):
            return False
        values = values.values()
    if kinds.issuperset(map(type, values)):
        return True
    for value in values:
        kind = type(value)
        if kind is dict or kind is list or kind is tuple:
            if levels <= 1 or not is_plain(value, kinds, key_kinds, levels - 1):
                return False
        elif kind not in kinds:
            return False
    return True


def is_text(text: str) -> bool:
    """Whether ``text`` is Unicode, without surrogates that stand alone."""
    if text.isascii():
        return True
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True


def plain(message: Any, convert: Convert | None = None) -> dict[str, Any]:
    """A copy of a message that holds plain values only.

    Args:
        message: a dict.
        convert: is given objects, if there may be any; its answer takes their place.

    Raises:
        SerializationError: says which value cannot be sent, and what to send instead.
    """
    return _checked(_Plain(convert or _refuse), message)


def json_values(message: Any) -> dict[str, Any]:
    """The same for JSON, which has no bytes, and only text for keys."""
    return _checked(_PlainJSON(_refuse), message)


def _checked(rules: "_Plain", message: Any) -> dict[str, Any]:
    try:
        content: dict[str, Any] = rules.dict(message, MAX_DEPTH)
    except _Unfit as unfit:
        path = [f"[{key}]" for key in reversed(unfit.path)]
        where = "".join(path if len(path) < 10 else [*path[:4], "[...]", *path[-4:]])
        raise SerializationError(f"message{where} {unfit.reason}") from None
    return content


class _Unfit(Exception):
    """A value cannot be sent; the keys under which it lies are collected on the way out."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason
        self.path: list[str] = []


class _Plain:
    """Makes plain values; one instance for each set of rules."""

    def __init__(self, convert: Convert) -> None:
        self._convert = convert

    def value(self, value: Any, levels: int) -> Any:
        """The plain value for anything."""
        kind = type(value)
        if value is None or kind is bool:
            return value
        if issubclass(kind, str):
            return _text(str.__str__(value))
        if issubclass(kind, int):
            return _integer(int.__int__(value))
        if issubclass(kind, float):
            return _number(float.__float__(value))
        if issubclass(kind, dict):
            return self.dict(value, levels)
        if issubclass(kind, list | tuple):
            return self._list(value, levels)
        if issubclass(kind, bytes | bytearray | memoryview):
            return self._bytes(value)
        return self._object(value)

    def dict(self, values: Any, levels: int) -> dict[Any, Any]:
        """What ``items()`` gives: of a QueryDict, the last value of each key."""
        _require(levels)
        content, key = {}, None
        try:
            for key, value in values.items():
                content[self.key(key)] = self.value(value, levels - 1)
        except _Unfit as unfit:
            unfit.path.append(_shown(key))
            raise
        return content

    def _list(self, values: Any, levels: int) -> list[Any]:
        _require(levels)
        content: list[Any] = []
        try:
            for value in values:
                content.append(self.value(value, levels - 1))  # noqa: PERF401 - one frame a level
        except _Unfit as unfit:
            unfit.path.append(str(len(content)))
            raise
        return content

    def key(self, key: Any) -> Any:
        """The plain value for the key of a dict."""
        kind = type(key)
        if issubclass(kind, str):
            return _text(str.__str__(key))
        if key is None or kind is bool or issubclass(kind, int | float | bytes):
            return self.value(key, 0)
        if self._convert is _refuse:
            raise _Unfit(f"is under a key of type {kind.__name__}; use text or numbers for keys")
        return key

    def _bytes(self, value: Any) -> bytes:
        return bytes(memoryview(value))

    def _object(self, value: Any) -> Any:
        return self._convert(value)


class _PlainJSON(_Plain):
    """What JSON gives back as it was."""

    def key(self, key: Any) -> Any:
        if not issubclass(type(key), str):
            raise _Unfit(
                f"is under a key of type {type(key).__name__}, which JSON would turn into text; "
                "use str(key)"
            )
        return _text(str.__str__(key))

    def _bytes(self, value: Any) -> bytes:
        raise _Unfit(
            f"is of type {type(value).__name__}, which JSON does not have; use the serializer "
            "'msgpack', or base64"
        )


def _require(levels: int) -> None:
    if levels <= 0:
        raise _Unfit(f"is nested more than {MAX_DEPTH} levels deep, or contains itself")


def _text(text: str) -> str:
    if not is_text(text):
        raise _Unfit("is no text, but has half a character (a surrogate that stands alone)")
    return text


def _integer(number: int) -> int:
    if not SMALLEST <= number <= LARGEST:
        raise _Unfit("is an integer of more than 64 bits; send it as text")
    return number


def _number(number: float) -> float:
    if not isfinite(number):
        raise _Unfit(f"is {number}, which JSON does not have; send None or text")
    return number


# What to send instead, by names of types, so that their modules need not be imported.
_INSTEAD = {
    "datetime": "its isoformat()",
    "date": "its isoformat()",
    "time": "its isoformat()",
    "timedelta": "its total_seconds()",
    "Decimal": "str() of it",
    "UUID": "str() of it",
    "__proxy__": "str() of it",  # a translation that waits for its language
    "set": "list() of it",
    "frozenset": "list() of it",
    "deque": "list() of it",
}


def _refuse(value: Any) -> Any:
    """Objects cannot be sent."""
    kind = type(value)
    instead = "its value" if issubclass(kind, enum.Enum) else _INSTEAD.get(kind.__name__)
    raise _Unfit(
        f"is of type {kind.__name__}"
        + (f"; send {instead}" if instead else ", which is no plain value")
    )


def _shown(key: Any) -> str:
    shown = ascii(key)
    return shown if len(shown) <= 40 else shown[:37] + "..."

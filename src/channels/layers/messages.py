"""Messages within a process and as bytes: every recipient gets a copy of its own.

What most messages need is here; :mod:`~channels.layers.values` looks at each value of the others.
"""

import copy
import datetime
import decimal
import fractions
import functools
import re
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from ..exceptions import SerializationError
from .values import LARGEST, PLAIN, SMALLEST, is_plain, is_text, plain

__all__ = ["decode", "pack", "packed", "snapshot", "taken"]

# Exact types whose values cannot change, so that sharing them is safe.
_ATOMS: frozenset[type] = frozenset(
    {
        bool, bytes, complex, float, int, str, type(None), range,
        datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
        decimal.Decimal, fractions.Fraction, uuid.UUID,
    }
)  # fmt: skip

_encode = msgspec.msgpack.Encoder().encode

#: What :func:`packed` or :func:`pack` was given.
decode = msgspec.msgpack.Decoder().decode

# In MessagePack: what a float begins with, and one that is infinite or no number.
_FLOAT = b"\xcb"
_NOT_FINITE = re.compile(rb"\xcb[\x7f\xff][\xf0-\xff]")


def taken(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Keep a message that is sent within this process as it is now.

    What :mod:`~channels.layers.values` says of plain values holds here too, and objects are copied.

    Returns:
        A function that returns a copy for one recipient.

    Raises:
        SerializationError: it is not a dict, or holds what no layer carries or cannot be copied.
    """
    if type(message) is dict:
        for key, value in message.items():
            kind = type(value)
            if kind is str:
                if not value.isascii() and not is_text(value):
                    break
            elif kind is int:
                if not SMALLEST <= value <= LARGEST:
                    break
            elif kind is not bool and value is not None and kind is not bytes:
                break
            if type(key) is not str or not key.isascii():
                break
        else:
            return message.copy().copy
    data = packed(message)
    return _taken(message) if data is None else functools.partial(decode, data)


def _taken(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The same for a message of which some value is to be converted, copied or refused."""
    if not isinstance(message, dict):
        raise _no_dict(message)
    try:
        kept = plain(message, _copy)
    except SerializationError as error:
        raise SerializationError(f"The message cannot be sent: {error}") from error
    except Exception as error:
        raise _cannot_be_copied(error) from error
    data = packed(kept)
    return functools.partial(_unpack, kept) if data is None else functools.partial(decode, data)


def packed(message: Any) -> bytes | None:
    """A message as MessagePack, if it holds plain values only, and none of a subclass.

    For most messages this is a matter of compiled code. None means that ``plain()`` of the module
    ``values`` has to look at each value.
    """
    if type(message) is not dict:
        return None
    for key, value in message.items():  # sooner than is_plain() if it is flat, as most are
        if type(key) is not str or type(value) not in PLAIN:
            if not is_plain(message):
                return None
            break
    return pack(message)


def pack(value: Any) -> bytes | None:
    """A value, of plain types only, as MessagePack.

    None means that it may hold surrogates, large integers or infinite floats. To find that out by
    this costs a fraction of a look at each value.
    """
    try:
        data = _encode(value)
    except (ValueError, OverflowError):  # it does not say which value is to blame
        return None
    if _FLOAT in data and _NOT_FINITE.search(data):  # or bytes that look like it
        return None
    return data


def snapshot(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Keep a message that has arrived, whatever it holds.

    A flat message of plain values, as most are, costs one ``dict.copy`` per recipient. Nested
    containers are copied as far as they are, and only what is neither goes to ``copy.deepcopy``.

    Returns:
        A function that returns a copy for one recipient.

    Raises:
        SerializationError: it is not a dict, or holds something that cannot be copied.
    """
    if not isinstance(message, dict):
        raise _no_dict(message)
    if _ATOMS.issuperset(map(type, message.values())):
        return dict(message).copy
    try:
        kept = _copy(dict(message))
    except Exception as error:
        raise _cannot_be_copied(error) from error
    return functools.partial(_unpack, kept)


def _no_dict(message: object) -> SerializationError:
    return SerializationError(
        f"A message must be a dict with a 'type', not {type(message).__name__}"
    )


def _cannot_be_copied(error: Exception) -> SerializationError:
    if isinstance(error, RecursionError):
        return SerializationError(
            "The message is nested too deeply, or contains itself; send plain values"
        )
    return SerializationError(
        f"The message cannot be copied for its recipients ({error}); send plain values, and the "
        "primary keys of objects instead of the objects"
    )


def _unpack(kept: dict[str, Any]) -> dict[str, Any]:
    """One recipient's copy. What refuses to be copied again counts as undecodable."""
    try:
        return {key: _copy(item) for key, item in kept.items()}
    except Exception as error:
        raise SerializationError(f"The message cannot be copied: {error}") from error


def _copy(value: Any) -> Any:
    """A copy that shares nothing with ``value`` that can change. Takes one frame for each level."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        content = {}
        for key, item in value.items():
            content[key] = item if type(item) in _ATOMS else _copy(item)
        return content
    if kind is list or kind is tuple:
        items = []
        for item in value:
            items.append(item if type(item) in _ATOMS else _copy(item))  # noqa: PERF401
        return items if kind is list else tuple(items)
    return copy.deepcopy(value)

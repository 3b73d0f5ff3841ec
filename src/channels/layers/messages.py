"""Keeping messages apart: a recipient that changes its copy changes nobody else's."""

import copy
import datetime
import decimal
import fractions
import functools
import uuid
from collections.abc import Callable
from typing import Any

import msgspec

from ..exceptions import SerializationError
from .values import LARGEST, SMALLEST, is_text, packed, plain

__all__ = ["snapshot", "taken"]

# Exact types whose values cannot change, so that sharing them is safe.
_ATOMS: frozenset[type] = frozenset(
    {
        bool, bytes, complex, float, int, str, type(None), range,
        datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
        decimal.Decimal, fractions.Fraction, uuid.UUID,
    }
)  # fmt: skip

_decode = msgspec.msgpack.Decoder().decode


def taken(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Take what somebody sends within this process, as it is now.

    What :mod:`~channels.layers.values` says of plain values holds here too, and objects are copied.

    Returns:
        What gives each recipient a copy of its own.

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
    return _taken(message) if data is None else functools.partial(_decode, data)


def _taken(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """The same for a message of which some value is to be converted, copied or refused."""
    _require_dict(message)
    try:
        kept = plain(message, _copy)
    except SerializationError as error:
        raise SerializationError(f"The message cannot be sent: {error}") from error
    except Exception as error:
        raise _cannot_be_copied(error) from error
    data = packed(kept)
    return functools.partial(_unpack, kept) if data is None else functools.partial(_decode, data)


def snapshot(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Take a message that has arrived, whatever it holds.

    A flat message of plain values, as most are, costs one ``dict.copy`` per recipient. Nested
    containers are copied as far as they are, and only what is neither goes to ``copy.deepcopy``.

    Returns:
        What gives each recipient a copy of its own.

    Raises:
        SerializationError: it is not a dict, or holds something that cannot be copied.
    """
    _require_dict(message)
    if _ATOMS.issuperset(map(type, message.values())):
        return dict(message).copy
    try:
        kept = _copy(dict(message))
    except Exception as error:
        raise _cannot_be_copied(error) from error
    return functools.partial(_unpack, kept)


def _require_dict(message: object) -> None:
    if not isinstance(message, dict):
        raise SerializationError(
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

"""Keeping messages apart: a recipient that changes its copy changes nobody else's."""

import copy
import datetime
import decimal
import fractions
import functools
import uuid
from collections.abc import Callable
from typing import Any

from ..exceptions import SerializationError

__all__ = ["snapshot"]

# Exact types whose values cannot change, so that sharing them is safe.
_ATOMS: frozenset[type] = frozenset(
    {
        bool, bytes, complex, float, int, str, type(None), range,
        datetime.date, datetime.datetime, datetime.time, datetime.timedelta, datetime.timezone,
        decimal.Decimal, fractions.Fraction, uuid.UUID,
    }
)  # fmt: skip


def snapshot(message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
    """Take ``message`` as it is now; each call of what is returned gives a copy of its own.

    A flat message of plain values, as most are, costs one ``dict.copy`` per recipient. Nested
    containers are copied as far as they are, and only what is neither goes to ``copy.deepcopy``.

    Raises:
        SerializationError: it is not a dict, or holds something that cannot be copied.
    """
    if not isinstance(message, dict):
        raise SerializationError(
            f"A message must be a dict with a 'type', not {type(message).__name__}"
        )
    kept = dict(message)
    for value in kept.values():
        if type(value) not in _ATOMS:
            break
    else:
        return kept.copy
    try:
        kept = _copy(kept)
    except RecursionError:
        raise SerializationError(
            "The message is nested too deeply, or contains itself; send plain values"
        ) from None
    except Exception as error:
        raise SerializationError(
            f"The message cannot be copied for its recipients ({error}); send plain values, and "
            "the primary keys of objects instead of the objects"
        ) from error
    return functools.partial(_unpack, kept)


def _unpack(kept: dict[str, Any]) -> dict[str, Any]:
    """One recipient's copy. What refuses to be copied again counts as undecodable."""
    try:
        return {key: _copy(item) for key, item in kept.items()}
    except Exception as error:
        raise SerializationError(f"The message cannot be copied: {error}") from error


def _copy(value: Any) -> Any:
    """A copy that shares nothing with ``value`` that can change."""
    kind = type(value)
    if kind in _ATOMS:
        return value
    if kind is dict:
        return {key: _copy(item) for key, item in value.items()}
    if kind is list:
        return [_copy(item) for item in value]
    if kind is tuple:
        return tuple([_copy(item) for item in value])
    return copy.deepcopy(value)

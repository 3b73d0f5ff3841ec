"""Refuses arguments of public functions with an error that says what to write.

What may be a secret (a token, the key of a session) is never part of the error.
"""

import time
from datetime import datetime, timedelta
from typing import Any

from ..exceptions import InvalidArgument
from .types import Scope

__all__ = [
    "as_close_code",
    "as_close_reason",
    "as_moment",
    "as_scope",
    "as_seconds",
    "as_text",
    "shown",
]

# Seconds: more than 300 years, and what time.time() says in the year 9999. Milliseconds are more.
_LONGEST = 10_000_000_000
_LATEST = 253_402_300_799

# Codes that nobody may send (RFC 6455, section 7.4).
_RESERVED = {1004, 1005, 1006, 1015}
_LONGEST_REASON = 123  # bytes: what fits into a frame with a code


def shown(value: object) -> str:
    """A value for an error, not too long."""
    text = repr(value)
    return text if len(text) <= 100 else f"{text[:97]}..."


def _is_number(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool)


def as_seconds(name: str, value: Any) -> float:
    """A duration in seconds.

    Raises:
        InvalidArgument: it is none, or not above 0.
    """
    if isinstance(value, timedelta):
        raise InvalidArgument(f"{name} must be a number of seconds: write total_seconds() of yours")
    if not _is_number(value) or not 0 < value <= _LONGEST:
        raise InvalidArgument(
            f"{name} must be a number of seconds above 0 and up to {_LONGEST}, not {shown(value)}"
        )
    return float(value)


def as_moment(name: str, value: Any, *, is_to_come: bool = False) -> float:
    """A time in seconds since the epoch.

    Args:
        name: of the argument.
        value: of the argument.
        is_to_come: whether it may not be over, nor further away than anybody can mean.

    Raises:
        InvalidArgument: it is none, or one that may not be.
    """
    if isinstance(value, datetime):
        raise InvalidArgument(
            f"{name} must be in seconds since the epoch: write timestamp() of your datetime, which "
            "has to have a time zone"
        )
    if not _is_number(value) or value != value:
        raise InvalidArgument(
            f"{name} must be in seconds since the epoch, as time.time() is, not {shown(value)}"
        )
    if is_to_come and value > _LATEST:
        raise InvalidArgument(
            f"{name} must be in seconds since the epoch; {shown(value)} seems to be in "
            "milliseconds: divide it by 1000"
        )
    if is_to_come and value <= time.time():
        raise InvalidArgument(
            f"{name} is over, since {time.time() - value:.3g} s; it must be a time to come, such "
            "as time.time() + 60"
        )
    return float(value)


def as_text(name: str, value: Any, example: str, error: type[Exception] = InvalidArgument) -> str:
    """Text that is not empty.

    Args:
        name: of the argument.
        value: of the argument. No error shows it.
        example: what to write.
        error: what to raise.

    Raises:
        InvalidArgument: it is something else.
    """
    if not isinstance(value, str) or not value:
        kind = "empty" if value == "" else f"of type {type(value).__name__}"
        raise error(f"{name} must be text, such as {example}; yours is {kind}")
    return value


def as_scope(value: Any) -> Scope:
    """The scope of a connection.

    Raises:
        InvalidArgument: it is none.
    """
    if not isinstance(value, dict):
        raise InvalidArgument(
            f"scope must be the scope of a connection, such as self.scope, not {shown(value)}"
        )
    return value


def as_close_code(code: Any) -> int:
    """What a WebSocket may be closed with.

    Raises:
        InvalidArgument: it is no such code.
    """
    is_code = _is_number(code) and isinstance(code, int)
    if not is_code or code in _RESERVED or not (1000 <= code < 1016 or 3000 <= code < 5000):
        raise InvalidArgument(
            f"code must be one that a WebSocket may be closed with, such as 1000, 4401 or another "
            f"one from 3000 to 4999; not {shown(code)}"
        )
    return int(code)


def as_close_reason(reason: Any) -> str:
    """What clients may be told when a WebSocket is closed.

    Raises:
        InvalidArgument: it is no text, or too long.
    """
    if not isinstance(reason, str):
        raise InvalidArgument(f"reason must be text, or empty; not {shown(reason)}")
    if (length := len(reason.encode("utf-8", "replace"))) > _LONGEST_REASON:
        raise InvalidArgument(
            f"reason may have {_LONGEST_REASON} bytes of UTF-8, and yours has {length}: shorten it"
        )
    return reason

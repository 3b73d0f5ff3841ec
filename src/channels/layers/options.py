"""What a layer's options may be; others are refused when the layer is made."""

import math
import re
from collections.abc import Mapping
from functools import lru_cache
from typing import Any

from ..exceptions import InvalidChannelLayerError

__all__ = [
    "LONGEST",
    "milliseconds",
    "require_callback",
    "require_capacities",
    "require_count",
    "require_duration",
    "require_flag",
    "require_text",
]

#: Seconds that stand for "never" where a broker counts them; it takes no infinite ones.
LONGEST = 10 * 365 * 86400.0


def require_count(name: str, value: Any, least: int | None = None, most: int | None = None) -> None:
    """Refuse what is no whole number, such as the text that environment variables have.

    Args:
        name: of the option.
        value: what it is.
        least: the smallest number that is of use, if there is one.
        most: the greatest, which needs a smallest one.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    number = isinstance(value, int) and not isinstance(value, bool)
    if number and (least is None or least <= value) and (most is None or value <= most):
        return
    limits = "" if least is None else f" from {least}"
    limits += "" if most is None else f" to {most}"
    raise InvalidChannelLayerError(f"{name} must be a whole number{limits}, not {value!r}")


def require_duration(name: str, value: Any, *, positive: bool = False) -> None:
    """Refuse what is no number of seconds.

    Args:
        name: of the option.
        value: what it is.
        positive: whether 0 and what is below are of no use.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    number = isinstance(value, int | float) and not isinstance(value, bool)
    if number and not math.isnan(value) and (value > 0 or not positive):
        return
    limit = " above 0" if positive else ""
    raise InvalidChannelLayerError(f"{name} must be a number of seconds{limit}, not {value!r}")


def require_capacities(value: Any) -> None:
    """Refuse what is no mapping of globs or compiled regular expressions to whole numbers.

    Raises:
        InvalidChannelLayerError: says what it is.
    """
    if value is None:
        return
    if not isinstance(value, Mapping):
        raise InvalidChannelLayerError(
            "channel_capacity must be a dict of patterns and whole numbers, not a "
            f"{type(value).__name__}"
        )
    for pattern, count in value.items():
        if not isinstance(pattern, str | re.Pattern):
            raise InvalidChannelLayerError(
                "A pattern of channel_capacity must be a glob or a compiled regular expression, "
                f"not {pattern!r}"
            )
        require_count(f"channel_capacity[{pattern!r}]", count)


def require_text(name: str, value: Any) -> None:
    """Refuse what is no text, or cannot be written as UTF-8.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    try:
        if isinstance(value, str) and value.encode() is not None:
            return
    except UnicodeEncodeError:
        pass
    raise InvalidChannelLayerError(f"{name} must be a text, not {value!r}")


def require_flag(name: str, value: Any) -> None:
    """Refuse what is neither True nor False nor None, such as the text ``"False"``.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    if value is not None and not isinstance(value, bool):
        raise InvalidChannelLayerError(f"{name} must be True, False or None, not {value!r}")


def require_callback(name: str, value: Any) -> None:
    """Refuse what can neither be called nor is None.

    Raises:
        InvalidChannelLayerError: says which option, and what it is.
    """
    if value is not None and not callable(value):
        raise InvalidChannelLayerError(f"{name} must be a function, not {value!r}")


@lru_cache(maxsize=16)  # what is asked for with each message is the same as a rule
def milliseconds(seconds: float) -> int:
    """Seconds as brokers take them: whole, positive and finite."""
    return max(int(min(seconds, LONGEST) * 1000), 1)

"""When a scheduled message is due: what callers may ask for, in seconds and in milliseconds."""

import time
from datetime import datetime
from typing import Any, NamedTuple

from ..exceptions import InvalidScheduleError
from .options import LONGEST

__all__ = ["SHORTEST_PERIOD", "When", "require_period", "when"]

#: Seconds from one periodic message to the next, at least: twice the precision of schedules.
SHORTEST_PERIOD = 0.1

_YEARS = int(LONGEST / 365 / 86400)


class When(NamedTuple):
    """When a message is due.

    Attributes:
        seconds: from now, or since the epoch.
        since_epoch: which of them.
    """

    seconds: float
    since_epoch: bool = False

    def from_now(self) -> float:
        """Seconds from now, by the clock of this machine; negative for what is past."""
        return self.seconds - time.time() if self.since_epoch else self.seconds

    def milliseconds(self) -> int:
        """The same number in whole milliseconds, at least 0."""
        return max(int(self.seconds * 1000), 0)


def when(delay: Any, at: Any) -> When:
    """When a message is due, as the arguments ``delay`` and ``at`` of callers say.

    Raises:
        InvalidScheduleError: says what is wrong with them.
    """
    if (delay is None) == (at is None):
        raise InvalidScheduleError(
            "Give either delay, in seconds, or at, a datetime with a time zone: "
            + ("neither was given" if at is None else "both were given")
        )
    if at is None:
        return When(_seconds("delay", delay, 0.0))
    if not isinstance(at, datetime):
        raise InvalidScheduleError(f"at must be a datetime with a time zone, not {at!r}")
    if at.utcoffset() is None:
        raise InvalidScheduleError(
            f"at must have a time zone, and {at!r} has none; use django.utils.timezone.now() or "
            "make_aware()"
        )
    found = When(at.timestamp(), since_epoch=True)
    if found.from_now() > LONGEST:
        raise InvalidScheduleError(f"at must be within {_YEARS} years, not {at!r}")
    return found


def require_period(seconds: Any) -> float:
    """The seconds from one periodic message to the next.

    Raises:
        InvalidScheduleError: says what is wrong with them.
    """
    return _seconds("seconds", seconds, SHORTEST_PERIOD)


def _seconds(name: str, value: Any, least: float) -> float:
    if not isinstance(value, int | float) or isinstance(value, bool):
        raise InvalidScheduleError(f"{name} must be a number of seconds, not {value!r}")
    if not least <= value <= LONGEST:  # NaN is neither
        raise InvalidScheduleError(
            f"{name} must be from {least:g} seconds to {_YEARS} years, not {value!r}"
        )
    return float(value)

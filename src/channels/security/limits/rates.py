"""Rates, as people write them."""

import math
import re
from dataclasses import dataclass

from django.core.exceptions import ImproperlyConfigured

__all__ = ["Rate", "as_rate"]

_PERIODS = {"s": 1.0, "m": 60.0, "h": 3600.0, "d": 86400.0}
_UNITS = {"": 1, "k": 1000, "m": 1000**2, "g": 1000**3, "ki": 1024, "mi": 1024**2, "gi": 1024**3}
_TEXT = re.compile(r"\s*(\d+(?:\.\d+)?)\s*(?:([kmg]i?)?b)?\s*/\s*([smhd])\s*", re.IGNORECASE)


@dataclass(frozen=True)
class Rate:
    """So many per so many seconds, and how many at once.

    Args:
        amount: how many there may be in ``seconds``: messages, bytes, handshakes.
        seconds: in how many seconds.
        burst: how many there may be at once, by a client that did nothing for a while. By default
            ``amount``, and at least 1.

    Raises:
        ImproperlyConfigured: one of them is not a number above 0, or ``burst`` is less than 1.
    """

    amount: float
    seconds: float = 1.0
    burst: float | None = None

    def __post_init__(self) -> None:
        for name in ("amount", "seconds"):
            value = getattr(self, name)
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ImproperlyConfigured(
                    f"{name} of a Rate must be a number above 0, not {value!r}."
                )
        if self.burst is None:
            object.__setattr__(self, "burst", max(self.amount, 1.0))
        elif type(self.burst) not in (int, float) or not 1 <= self.burst < math.inf:
            raise ImproperlyConfigured(
                f"burst of a Rate must be a number of 1 or more, not {self.burst!r}."
            )

    @property
    def interval(self) -> float:
        """Seconds in which one token comes back."""
        return self.seconds / self.amount

    @property
    def capacity(self) -> float:
        """How many tokens a full bucket holds."""
        return self.burst or 1.0

    def __str__(self) -> str:
        unit = {seconds: f"/{unit}" for unit, seconds in _PERIODS.items()}.get(self.seconds)
        return f"{self.amount:g}{unit or f' in {self.seconds:g} s'}"


def as_rate(value: object) -> Rate:
    """A rate as people write it.

    Args:
        value: a :class:`Rate`, or text such as ``"20/s"``, ``"100/m"``, ``"1000/h"`` or, for
            bytes, ``"64 KiB/s"`` (also ``kB``, ``MB``, ``MiB``).

    Raises:
        ImproperlyConfigured: it is neither; says what to write.
    """
    if isinstance(value, Rate):
        return value
    match = _TEXT.fullmatch(value) if isinstance(value, str) else None
    if match is not None:
        amount, unit, period = match.groups()
        number = float(amount) * _UNITS[(unit or "").lower()]
        if 0 < number < math.inf:
            return Rate(number, _PERIODS[period.lower()])
    raise ImproperlyConfigured(
        f'{value!r} is no rate: write "20/s", "100/m", "1000/h", for bytes "64 KiB/s", or '
        "Rate(20, seconds=1, burst=40)."
    )

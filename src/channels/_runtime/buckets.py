"""Token buckets: what may be done so often, and so often at once.

A bucket holds ``burst`` tokens, and one comes back every ``interval`` seconds. What is done takes
tokens; when there are too few, it is too much. What has to be remembered of a bucket is one number:
when it will be full again. (That is the generic cell rate algorithm, GCRA, of ITU-T I.371, which
allows exactly what a token bucket allows.)
"""

from collections import OrderedDict

from . import clock

__all__ = ["MOST", "Buckets", "take"]

#: Buckets that are remembered at a time, of some 200 bytes each.
MOST = 50_000

# Floating-point sums differ in the last digits; nobody is over a limit for that many tokens.
_TOLERANCE = 1e-6


def take(
    full_at: float,
    now: float,
    interval: float,
    burst: float,
    cost: float = 1.0,
    *,
    debt: bool = False,
) -> tuple[float, float]:
    """Take tokens from a bucket, if it has as many. Pure arithmetic.

    Args:
        full_at: when the bucket will be full again, on the same clock as ``now``; any time that
            has passed is a full bucket.
        now: the present time, in seconds.
        interval: seconds in which one token comes back.
        burst: tokens that a full bucket holds.
        cost: how many tokens to take. More than a bucket holds can never be had.
        debt: take more than a bucket holds all the same, as soon as it is full: those that are
            missing delay what comes next.

    Returns:
        When the bucket will be full after that, and 0.0. If there are too few tokens, ``full_at``
        as it was, and the seconds after which there will be enough.
    """
    start = max(full_at, now)
    needed = min(cost, burst) if debt else cost
    wait = (start - now) + (needed - burst) * interval
    if wait > _TOLERANCE * interval:
        return full_at, wait
    return start + cost * interval, 0.0


class Buckets:
    """Token buckets by key, in the memory of this process: bounded, whatever keys there are.

    When there are too many, the one that was used longest ago is forgotten, as if it were full. A
    client with so many addresses gains by that what they would give it anyway.

    Args:
        most: buckets that are remembered.
    """

    def __init__(self, most: int = MOST) -> None:
        self._most = most
        self._full_at: OrderedDict[str, float] = OrderedDict()

    def __len__(self) -> int:
        """How many are remembered."""
        return len(self._full_at)

    def take(
        self, key: str, interval: float, burst: float, cost: float = 1.0, *, debt: bool = False
    ) -> float:
        """Take tokens from a bucket; see :func:`take`.

        Returns:
            0.0, or the seconds after which there will be enough.
        """
        full_at = self._full_at.get(key, 0.0)
        after, wait = take(full_at, clock.now(), interval, burst, cost, debt=debt)
        self._keep(key, after)
        return wait

    def take_some(
        self, key: str, interval: float, burst: float, least: float, most: float
    ) -> tuple[float, float]:
        """Take as many tokens as there are, ``least`` at least and ``most`` at most.

        Returns:
            How many were taken, and 0.0; or 0.0, and the seconds after which there will be enough.
        """
        now = clock.now()
        full_at = self._full_at.get(key, 0.0)
        there = burst - max(full_at - now, 0.0) / interval
        cost = max(min(most, there), least)
        after, wait = take(full_at, now, interval, burst, cost)
        self._keep(key, after)
        return (0.0, wait) if wait else (cost, 0.0)

    def _keep(self, key: str, full_at: float) -> None:
        buckets = self._full_at
        buckets[key] = full_at
        buckets.move_to_end(key)
        if len(buckets) > self._most:
            buckets.popitem(last=False)

    def clear(self) -> None:
        """Forget all."""
        self._full_at.clear()

"""Pauses between attempts that fail."""

import random

__all__ = ["random_pause"]

# A source of its own: numbers are the same in no two forks, and none are taken, in a thread, from a
# sequence that a project has seeded.
_random = random.SystemRandom()


def random_pause(failures: int, first: float, last: float) -> float:
    """Seconds to wait after so many failures in a row, at random below a limit that doubles.

    Exponential backoff with full jitter, as in "Exponential Backoff And Jitter" (M. Brooker, AWS
    Architecture Blog, 2015).

    Args:
        failures: from 1.
        first: the limit after the first failure, in seconds.
        last: what the limit does not exceed, in seconds.
    """
    return _random.uniform(0, min(last, first * 2.0 ** min(failures - 1, 64)))

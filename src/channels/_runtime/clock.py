"""The seconds that really pass, whatever a test does to the module ``time``.

Tools that freeze time in tests replace ``time.monotonic()`` (freezegun by a search through all
modules, time-machine before version 3 inside the interpreter), and with it the clock of asyncio's
event loops. They leave ``clock_gettime()`` alone for clocks that cannot be set.
"""

import time
from functools import partial

__all__ = ["now"]

#: Seconds on a clock that never goes back, and that no tool freezes: ``now() -> float``.
# It is the clock behind time.monotonic(), so that both agree unless one of them is frozen.
if hasattr(time, "CLOCK_UPTIME_RAW"):  # macOS
    now = partial(time.clock_gettime, time.CLOCK_UPTIME_RAW)
elif hasattr(time, "CLOCK_MONOTONIC"):
    now = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # Windows; freezegun does not look into a partial
    now = partial(time.monotonic)

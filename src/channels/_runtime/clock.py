"""The seconds that really pass, whatever a test does to the module ``time``.

Tools that freeze time in tests replace ``time.monotonic()`` (freezegun by a search through all
modules, time-machine before version 3 inside the interpreter), and with it the clock of asyncio's
event loops. They leave ``clock_gettime()`` alone for clocks that cannot be set.
"""

import sys
import time
from functools import partial

__all__ = ["now", "wall"]

#: Seconds on a clock that never goes back, and that no tool freezes: ``now() -> float``.
# It is the clock behind time.monotonic(), so that both agree unless one of them is frozen.
if hasattr(time, "CLOCK_UPTIME_RAW"):  # pragma: no cover - on macOS only
    now = partial(time.clock_gettime, time.CLOCK_UPTIME_RAW)
elif hasattr(time, "CLOCK_MONOTONIC"):  # pragma: no branch - the rest is Windows
    now = partial(time.clock_gettime, time.CLOCK_MONOTONIC)
else:  # pragma: no cover - on Windows only; freezegun does not look into a partial
    now = partial(time.monotonic)

#: Seconds since the epoch by the clock of the machine: ``wall() -> float``. Tools freeze the clock
#: that is to be set under its usual name only.
_CLOCK_REALTIME_COARSE = 5  # of Linux, to a few milliseconds; the module has no name for it
if sys.platform == "linux":  # pragma: no branch - the rest is other systems
    wall = partial(time.clock_gettime, _CLOCK_REALTIME_COARSE)
else:  # pragma: no cover - macOS and Windows
    wall = partial(time.time)

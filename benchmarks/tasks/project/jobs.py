"""What the tasks of every contender do: leave a mark, by which is seen that and when they ran."""

import os
import struct
import time
from functools import cache

__all__ = ["MARK", "hold", "mark", "stamp"]

#: When a task was enqueued, when it started, and in which process.
MARK = struct.Struct("<qqq")


@cache
def marks() -> int:
    """The file that they go to."""
    return os.open(os.environ["BENCHMARK_MARKS"], os.O_WRONLY | os.O_APPEND | os.O_CREAT)


def stamp() -> int:
    """Now, in nanoseconds, on a clock that all processes of the machine share."""
    return time.clock_gettime_ns(time.CLOCK_MONOTONIC)


def mark(sent: int) -> None:
    """An empty task, that was enqueued at ``sent``."""
    os.write(marks(), MARK.pack(sent, stamp(), os.getpid()))


def hold(sent: int, seconds: float) -> None:
    """A task that takes its time."""
    mark(sent)
    time.sleep(seconds)

"""Counts what connections do, in plain numbers, while anybody wants to know.

A signal for each message would cost more than three hundredths of what the message itself costs.
So would a call for each figure: what handles and sends messages counts here by itself. It is exact,
and without a lock, because every thread that runs an event loop has tallies of its own, which
others only read.
"""

import threading
import time
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

from .types import Consumer

__all__ = [
    "BUCKETS",
    "OTHER",
    "QUICK",
    "Latency",
    "Tally",
    "size_of",
    "start",
    "tallies",
    "tally_of",
]

#: Upper bounds of the classes into which durations are sorted, in seconds.
BUCKETS: Final = (
    0.0005, 0.001, 0.0025, 0.005, 0.01, 0.025, 0.05, 0.1, 0.25, 0.5, 1.0, 2.5, 5.0, 10.0,
)  # fmt: skip

#: The bound of the first of them, in seconds, which the handlers of most messages do not exceed.
QUICK: Final = BUCKETS[0]

#: What stands for all names beyond those that are told apart.
OTHER: Final = "other"

# Consumer classes, and message types of each, that are told apart. Types may come from clients.
_CLASSES = 200
_TYPES = 50
_LONGEST = 100  # characters
# Ways to write those types that are remembered: dots and underscores mean the same.
_SPELLINGS = 200


class Latency:
    """How long something took, each time: a histogram."""

    __slots__ = ("_slower", "quick", "seconds")

    def __init__(self) -> None:
        #: How often it took at most :data:`QUICK`.
        self.quick = 0
        #: All together.
        self.seconds = 0.0
        # The same for the other classes, and last how often it took longer.
        self._slower = [0] * len(BUCKETS)

    @property
    def counts(self) -> list[int]:
        """How often it took as long as :data:`BUCKETS` say, and last how often longer."""
        return [self.quick, *self._slower]

    def observe(self, seconds: float) -> None:
        """It took so many seconds."""
        self.seconds += seconds
        if seconds <= QUICK:
            self.quick += 1
        else:
            self._slower[bisect_left(BUCKETS, seconds) - 1] += 1


class Tally:
    """What connections to consumers of one class have received, sent and handled on one thread.

    Only that thread may write here.
    """

    __slots__ = (
        "handlers",
        "now",
        "received",
        "received_bytes",
        "sent",
        "sent_bytes",
        "spelled",
    )

    def __init__(self) -> None:
        #: Messages of clients, and their bytes.
        self.received = self.received_bytes = 0
        #: Messages to clients, and their bytes.
        self.sent = self.sent_bytes = 0
        #: How long handlers took, by type of message, written with dots.
        self.handlers: dict[str, Latency] = {}
        #: The same by type as messages have it: what :meth:`latency_of` has given for those that
        #: are seen often. No dict of its own kind: that would be slower.
        self.spelled: dict[object, Latency] = {}
        #: The clock for that: quicker than clock.now(), and out of the sight of what freezes it.
        self.now = time.perf_counter

    def latency_of(self, message_type: object) -> Latency:
        """Where it is counted how long handlers took.

        Args:
            message_type: of the message, whatever it is. All that is no text, and what is beyond
                the types that are told apart, counts as :data:`OTHER`.
        """
        text = message_type if isinstance(message_type, str) else OTHER
        name, handlers = text[: _LONGEST + 1].replace("_", "."), self.handlers
        if name not in handlers and (len(handlers) >= _TYPES or len(name) > _LONGEST):
            name = OTHER
        latency = handlers.setdefault(name, Latency())
        if len(self.spelled) < _SPELLINGS and len(text) <= _LONGEST:
            self.spelled[text] = latency
        return latency


#: By name of the consumer's class, and the thread.
tallies: dict[tuple[str, int], Tally] = {}

#: Whether :func:`start` was called.
counting = False


def start() -> None:
    """Count from now on, for connections that begin."""
    global counting  # noqa: PLW0603 - a process counts or not, as a whole
    counting = True


def tally_of(consumer: Consumer) -> Tally | None:
    """Where a connection that begins on this thread is counted; None if nothing is."""
    if not counting:
        return None
    cls = type(consumer)
    key = f"{cls.__module__}.{cls.__qualname__}", threading.get_ident()
    if key not in tallies and len(tallies) >= _CLASSES:
        key = OTHER, key[1]
    return tallies.setdefault(key, Tally())


def size_of(message: Mapping[str, Any]) -> int:
    """Bytes of what a message carries: its text in UTF-8, its bytes, or its part of the body."""
    text = message.get("text")
    if text is not None:
        return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))
    data = message.get("bytes")
    return len(message.get("body") or b"" if data is None else data)

"""Counts what connections do, in plain numbers, while anybody wants to know.

A signal for each message would cost more than three hundredths of what the message itself costs. So
what happens for every message is counted here, and read when somebody looks: exact, and without a
lock, because every thread that runs an event loop has tallies of its own.
"""

import threading
from bisect import bisect_left
from collections.abc import Mapping
from typing import Any, Final

from .types import Consumer

__all__ = [
    "BUCKETS",
    "OTHER",
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

    __slots__ = ("counts", "seconds")

    def __init__(self) -> None:
        #: How often it took as long as :data:`BUCKETS` say, and last how often longer.
        self.counts = [0] * (len(BUCKETS) + 1)
        #: All together.
        self.seconds = 0.0

    def observe(self, seconds: float) -> None:
        """It took so many seconds."""
        self.counts[bisect_left(BUCKETS, seconds)] += 1
        self.seconds += seconds


class Tally:
    """What connections to consumers of one class have received, sent and handled on one thread."""

    __slots__ = ("_spellings", "handlers", "received", "received_bytes", "sent", "sent_bytes")

    def __init__(self) -> None:
        #: Messages of clients, and their bytes.
        self.received = self.received_bytes = 0
        #: Messages to clients, and their bytes.
        self.sent = self.sent_bytes = 0
        #: How long handlers took, by type of message, written with dots.
        self.handlers: dict[str, Latency] = {}
        self._spellings: dict[str, Latency] = {}

    def has_received(self, text: str | None, message: Mapping[str, Any]) -> None:
        """A message of a client, which has this text or none, is about to be handled."""
        self.received += 1
        self.received_bytes += len(text) if text and text.isascii() else size_of(message)

    def has_sent(self, text: str | None, message: Mapping[str, Any]) -> None:
        """The server has taken a message for a client, which has this text or none."""
        self.sent += 1
        self.sent_bytes += len(text) if text and text.isascii() else size_of(message)

    def handled(self, message_type: str, seconds: float) -> None:
        """A handler took so many seconds for a message of this type."""
        latency = self._spellings.get(message_type)
        if latency is None:
            latency = self._find(message_type)
        latency.counts[bisect_left(BUCKETS, seconds)] += 1
        latency.seconds += seconds

    def _find(self, message_type: str) -> Latency:
        """The figures of a type. One beyond those that are told apart counts as :data:`OTHER`."""
        name = message_type[: _LONGEST + 1].replace("_", ".")
        if name not in self.handlers and (len(self.handlers) >= _TYPES or len(name) > _LONGEST):
            name = OTHER
        latency = self.handlers.setdefault(name, Latency())
        if len(self._spellings) < _SPELLINGS and len(message_type) <= _LONGEST:
            self._spellings[message_type] = latency
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

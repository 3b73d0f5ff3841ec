"""Counts what connections do, in plain numbers, while anybody wants to know.

A signal for each message would cost more than three hundredths of what the message itself costs.
So would adding up and sorting each figure as it comes. What happens for every message is appended
to lists here, which :func:`fold` adds up: four times a second, and when somebody looks. It is
exact, and without a lock for what is counted, because every thread that runs an event loop has
tallies of its own.
"""

import threading
import time
from bisect import bisect_left, bisect_right
from collections.abc import Callable, Mapping
from typing import Any, Final, TypeVar

from .. import signals
from .forks import in_child
from .types import Consumer

__all__ = [
    "BUCKETS",
    "OTHER",
    "Latency",
    "Tally",
    "fold",
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


_T = TypeVar("_T")


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

    def observe_all(self, durations: list[float]) -> None:
        """It took so many seconds each time. The list may be sorted."""
        self.seconds += sum(durations)
        if max(durations, default=0.0) <= BUCKETS[0]:  # as those of most handlers are
            self.counts[0] += len(durations)
            return
        durations.sort()
        before = 0
        for index, bound in enumerate(BUCKETS):
            found = bisect_right(durations, bound, before)
            self.counts[index] += found - before
            before = found
        self.counts[-1] += len(durations) - before


class Tally:
    """What connections to consumers of one class have received, sent and handled on one thread.

    The figures are those of the last :meth:`fold`.
    """

    __slots__ = (
        "_received",
        "_sent",
        "handlers",
        "has_received",
        "has_sent",
        "noted",
        "now",
        "received",
        "received_bytes",
        "sent",
        "sent_bytes",
        "took",
    )

    def __init__(self) -> None:
        #: Messages of clients, and their bytes.
        self.received = self.received_bytes = 0
        #: Messages to clients, and their bytes.
        self.sent = self.sent_bytes = 0
        #: How long handlers took, by type of message, written with dots.
        self.handlers: dict[str, Latency] = {}
        self._received: list[int] = []
        self._sent: list[int] = []
        #: Notes the bytes of a message of a client, which is about to be handled.
        self.has_received = self._received.append
        #: Notes the bytes of a message for a client, which the server has taken.
        self.has_sent = self._sent.append
        #: The clock for that: quicker than clock.now(), and out of the sight of what freezes it.
        self.now = time.perf_counter
        #: The seconds that are not folded yet, by type of message, written with dots.
        self.noted: dict[str, list[float]] = {}
        #: What notes how many seconds a handler took, by type of message: what :meth:`note_of` has
        #: given for types that are seen often. No dict of its own kind: that would be slower.
        self.took: dict[object, Callable[[float], None]] = {}

    def note_of(self, message_type: object) -> Callable[[float], None]:
        """What notes how many seconds a handler took.

        Args:
            message_type: of the message, whatever it is. All that is no text, and what is beyond
                the types that are told apart, counts as :data:`OTHER`.
        """
        text = message_type if isinstance(message_type, str) else OTHER
        name, noted = text[: _LONGEST + 1].replace("_", "."), self.noted
        if name not in noted and (len(noted) >= _TYPES or len(name) > _LONGEST):
            name = OTHER
        note = noted.setdefault(name, []).append
        if len(self.took) < _SPELLINGS and len(text) <= _LONGEST:
            self.took[text] = note
        return note

    def fold(self) -> None:
        """Add up what was noted. Not by two threads at a time."""
        received, sent = _take(self._received), _take(self._sent)
        self.received += len(received)
        self.received_bytes += sum(received)
        self.sent += len(sent)
        self.sent_bytes += sum(sent)
        for message_type, noted in tuple(self.noted.items()):
            if noted:
                latency = self.handlers.setdefault(message_type, Latency())
                latency.observe_all(_take(noted))


def _take(noted: list[_T]) -> list[_T]:
    """Empty a list, to whose end another thread may append meanwhile."""
    taken = noted[: len(noted)]
    del noted[: len(taken)]
    return taken


#: By name of the consumer's class, and the thread.
tallies: dict[tuple[str, int], Tally] = {}

#: Whether :func:`start` was called.
counting = False


# Held while figures are folded.
_folding = [threading.Lock()]


def _renew_lock() -> None:
    """In a forked child, where a thread that is not there may have held it."""
    _folding[0] = threading.Lock()


in_child(_renew_lock)


def start() -> None:
    """Count from now on, for connections that begin."""
    global counting  # noqa: PLW0603 - a process counts or not, as a whole
    counting = True
    # It is sent on every event loop that has had a connection, so no list gets long.
    signals.event_loop_lagged.connect(_fold_here, weak=False, dispatch_uid="channels.tallies")


def fold() -> None:
    """Add up what was noted until now. From any thread."""
    with _folding[0]:
        for tally in tuple(tallies.values()):
            tally.fold()


def _fold_here(**others: Any) -> None:
    """The same for the tallies of this thread."""
    here = threading.get_ident()
    with _folding[0]:
        for (_, thread), tally in tuple(tallies.items()):
            if thread == here:
                tally.fold()


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

"""Counts what happens in this process while somebody looks at it.

Signals that come with every message have no listener otherwise, and cost nothing then.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from functools import partial
from typing import Any
from weakref import WeakKeyDictionary

from django.dispatch import Signal

from .. import signals
from .._runtime import clock, timers
from .._runtime.forks import in_child
from .._runtime.lag import LagTimer
from .._runtime.logtext import printable
from .._runtime.per_loop import PerLoop

__all__ = ["IDLE", "Counters", "counters"]

#: Seconds after the last look until nothing is counted any more.
IDLE = 10.0

# Seconds for which a figure of how late the event loop is counts.
_WINDOW = 10.0


# Seconds over which messages of a connection are counted, at least, before a rate is told.
_LEAST = 0.9

# What is counted each time, and as what.
_COUNTED = {
    signals.handshake_finished: "handshakes",
    signals.layer_message_sent: "layer",
    signals.layer_gap: "gaps",
    signals.job_finished: "jobs",
    signals.connection_refused: "refused",
    signals.client_stalled: "stalled",
}


class _Lag:
    """How late one event loop calls back, as long as it is asked for."""

    def __init__(self) -> None:
        self._until = 0.0
        self._worst: list[tuple[float, float]] = []  # when, and how late
        self._timer = LagTimer(self._measured, lambda: clock.now() < self._until)

    def ask(self) -> float | None:
        """The longest delay of the last seconds; None before the first tick."""
        now = clock.now()
        self._until = now + IDLE
        if self._timer.start():
            self._worst.clear()
        self._worst = [pair for pair in self._worst if pair[0] >= now - _WINDOW]
        return max((late for _, late in self._worst), default=None)

    def _measured(self, seconds: float) -> None:
        self._worst.append((clock.now(), seconds))

    async def aclose(self) -> None:
        """The event loop ends."""
        self._timer.stop()


class _Messages:
    """Those of one connection: of its client, and to it; and how many came in a second lately."""

    __slots__ = ("_at", "_before", "counts", "rates")

    def __init__(self) -> None:
        self.counts, self.rates = [0, 0], (0.0, 0.0)
        self._at, self._before = clock.now(), (0, 0)

    def look(self) -> tuple[float, float]:
        """The rates since the look before, or the former ones if that was just now."""
        now = clock.now()
        seconds = now - self._at
        if seconds >= _LEAST:
            (received, sent), before = self.counts, self._before
            self.rates = (received - before[0]) / seconds, (sent - before[1]) / seconds
            self._at, self._before = now, (received, sent)
        return self.rates


class Counters:
    """What has happened since somebody began to look, by name."""

    def __init__(self) -> None:
        #: Since when, without a break; 0 while nothing is counted.
        self.since = 0.0
        #: How often what has happened.
        self.totals: Counter[str] = Counter()
        #: How often which limit was hit.
        self.limits: Counter[str] = Counter()
        self._messages: WeakKeyDictionary[Any, _Messages] = WeakKeyDictionary()
        self._lag = PerLoop(_Lag)
        self._asked = 0.0
        self._timer: timers.Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receivers: dict[Signal, Callable[..., None]] = {
            signals.message_received: self._received,
            signals.message_sent: self._sent,
            signals.limit_exceeded: self._limit,
            **{signal: partial(self._count, name) for signal, name in _COUNTED.items()},
        }

    def look(self) -> float | None:
        """Count from now on, for some seconds. To be called on an event loop.

        Returns:
            How late the running event loop is at the most, in seconds; None if not known yet.
        """
        self._asked = clock.now()
        if not self.since:
            self.since = self._asked
            self.totals.clear()
            for signal, receiver in self._receivers.items():
                signal.connect(receiver, dispatch_uid="channels.live")
        if self._timer is None or self._loop is None or self._loop.is_closed():
            self._loop = asyncio.get_running_loop()
            self._timer = timers.Timer(IDLE, self._look_again)
        return self._lag.get().ask()

    def messages(self, consumer: object) -> tuple[int, int]:
        """How many messages of its client, and to it, a consumer has had since."""
        known = self._messages.get(consumer)
        return (0, 0) if known is None else (known.counts[0], known.counts[1])

    def rates(self, consumer: object) -> tuple[float, float]:
        """The same, in a second: since they were last asked for, which is to be now and then."""
        known = self._messages.get(consumer)
        return (0.0, 0.0) if known is None else known.look()

    def _of(self, consumer: Any) -> list[int]:
        known = self._messages.get(consumer)
        if known is None:
            known = self._messages[consumer] = _Messages()
        return known.counts

    def _look_again(self) -> None:
        left = self._asked + IDLE - clock.now()
        if left > 0:
            self._timer = timers.Timer(left, self._look_again)
        else:
            self.stop()

    def stop(self) -> None:
        """Count no more."""
        self.since = 0.0
        self._timer = None
        self._messages.clear()
        for signal in self._receivers:
            signal.disconnect(dispatch_uid="channels.live")

    # Receivers

    def _received(self, consumer: Any, size: int, **kwargs: Any) -> None:
        self.totals["received"] += 1
        self.totals["received_bytes"] += size
        self._of(consumer)[0] += 1

    def _sent(self, consumer: Any, size: int, **kwargs: Any) -> None:
        self.totals["sent"] += 1
        self.totals["sent_bytes"] += size
        self._of(consumer)[1] += 1

    def _count(self, name: str, **kwargs: Any) -> None:
        self.totals[name] += 1

    def _limit(self, limit: str, **kwargs: Any) -> None:
        self.limits[printable(limit)] += 1


#: Those of this process.
counters = Counters()

in_child(counters.stop)

"""Counts what happens in this process while somebody looks at it.

Signals that come with every message have no listener otherwise, and cost nothing then.
"""

import asyncio
from collections import Counter
from collections.abc import Callable
from typing import Any
from weakref import WeakKeyDictionary

from django.dispatch import Signal

from .. import signals
from .._runtime import clock, timers
from .._runtime.forks import in_child
from .._runtime.logtext import printable
from .._runtime.per_loop import PerLoop

__all__ = ["IDLE", "Counters", "counters"]

#: Seconds after the last look until nothing is counted any more.
IDLE = 10.0

# Seconds between two looks at how late the event loop is, and for how long a figure counts.
_TICK = 0.25
_WINDOW = 10.0


class _Lag:
    """How late one event loop calls back, as long as it is asked for."""

    def __init__(self) -> None:
        self._until = 0.0
        self._timer: timers.Timer | None = None
        self._due = 0.0
        self._worst: list[tuple[float, float]] = []  # when, and how late

    def ask(self) -> float | None:
        """The longest delay of the last seconds; None before the first tick."""
        self._until = clock.now() + IDLE
        if self._timer is None:
            self._worst.clear()
            self._wind_up()
        recent = clock.now() - _WINDOW
        self._worst = [pair for pair in self._worst if pair[0] >= recent]
        return max((late for _, late in self._worst), default=None)

    def _wind_up(self) -> None:
        self._due = clock.now() + _TICK
        self._timer = timers.Timer(_TICK, self._tick)

    def _tick(self) -> None:
        now = clock.now()
        self._worst.append((now, max(now - self._due, 0.0)))
        self._timer = None
        if now < self._until:
            self._wind_up()

    async def aclose(self) -> None:
        """The event loop ends."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None


class Counters:
    """What has happened since somebody began to look, by name."""

    def __init__(self) -> None:
        #: Since when, without a break; 0 while nothing is counted.
        self.since = 0.0
        #: How often what has happened.
        self.totals: Counter[str] = Counter()
        #: How often which limit was hit.
        self.limits: Counter[str] = Counter()
        # Messages of each consumer: those of its client, and those to it.
        self._messages: WeakKeyDictionary[Any, list[int]] = WeakKeyDictionary()
        self._lag = PerLoop(_Lag)
        self._asked = 0.0
        self._timer: timers.Timer | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._receivers: dict[Signal, Callable[..., None]] = {
            signals.message_received: self._received,
            signals.message_sent: self._sent,
            signals.handshake_finished: self._handshake,
            signals.layer_message_sent: self._layer,
            signals.layer_gap: self._gap,
            signals.limit_exceeded: self._limit,
            signals.job_finished: self._job,
            signals.connection_refused: self._refused,
            signals.client_stalled: self._stalled,
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
        received, sent = self._messages.get(consumer, (0, 0))
        return received, sent

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
        self._messages.setdefault(consumer, [0, 0])[0] += 1

    def _sent(self, consumer: Any, size: int, **kwargs: Any) -> None:
        self.totals["sent"] += 1
        self.totals["sent_bytes"] += size
        self._messages.setdefault(consumer, [0, 0])[1] += 1

    def _handshake(self, **kwargs: Any) -> None:
        self.totals["handshakes"] += 1

    def _layer(self, **kwargs: Any) -> None:
        self.totals["layer"] += 1

    def _gap(self, **kwargs: Any) -> None:
        self.totals["gaps"] += 1

    def _job(self, **kwargs: Any) -> None:
        self.totals["jobs"] += 1

    def _refused(self, **kwargs: Any) -> None:
        self.totals["refused"] += 1

    def _stalled(self, **kwargs: Any) -> None:
        self.totals["stalled"] += 1

    def _limit(self, limit: str, **kwargs: Any) -> None:
        self.limits[printable(limit)] += 1


#: Those of this process.
counters = Counters()

in_child(counters.stop)

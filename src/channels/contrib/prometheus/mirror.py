"""Brings the metrics up to date with what the framework counts by itself."""

import contextlib
import threading
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..._runtime import tallies
from ..._runtime.draining import is_draining
from ..._runtime.forks import in_child
from ..._runtime.tallies import Latency
from ..._runtime.threads import pool
from ...layers import channel_layers
from ...layers.statistics import Statistics
from .client import Counter
from .definitions import Metrics, TalliedHistogram

__all__ = ["Mirror"]


class Mirror:
    """Adds to the metrics what was counted since it was last called.

    Args:
        metrics: those of this process.
    """

    def __init__(self, metrics: Metrics) -> None:
        self._metrics = metrics
        self._lock = threading.Lock()
        # What each figure was. The object is kept, so that no other one gets its identity.
        self._seen: dict[tuple[int, str], tuple[Any, Any]] = {}
        in_child(self._renew_lock)

    def _renew_lock(self) -> None:
        """In a forked child, where a thread that is not there may have held it."""
        self._lock = threading.Lock()

    def refresh(self) -> None:
        """Bring the metrics up to date. From any thread."""
        with self._lock:
            for (consumer, _), tally in list(tallies.tallies.items()):
                self._tally(consumer, tally)
            for alias, layer in list(channel_layers.backends.items()):
                statistics = getattr(layer, "statistics", None)
                if isinstance(statistics, Statistics):
                    self._layer(alias, statistics)
            self._process()

    def _tally(self, consumer: str, tally: tallies.Tally) -> None:
        metrics = self._metrics
        for field, counter in (
            ("received", metrics.received),
            ("received_bytes", metrics.received_bytes),
            ("sent", metrics.sent),
            ("sent_bytes", metrics.sent_bytes),
        ):
            self._count(tally, field, counter, consumer)
        for message_type, latency in list(tally.handlers.items()):
            self._time(latency, metrics.handler_seconds, consumer, _encodable(message_type))

    def _layer(self, alias: str, statistics: Statistics) -> None:
        metrics = self._metrics
        self._count(statistics, "delivered", metrics.layer_delivered, alias)
        metrics.layer_pending.labels(alias).set(statistics.pending)
        self._time(statistics.sends, metrics.layer_send_seconds, alias, "channel")
        self._time(statistics.group_sends, metrics.layer_send_seconds, alias, "group")

    def _process(self) -> None:
        metrics = self._metrics
        with contextlib.suppress(ImproperlyConfigured):  # the consumers say what is wrong
            busy, waiting = pool().load()
            metrics.threads.set(pool().size)
            metrics.threads_busy.set(busy)
            metrics.threads_waiting.set(waiting)
        metrics.draining.set(is_draining())

    def _count(self, counted: Any, field: str, counter: Counter, *labels: str) -> None:
        total = getattr(counted, field)
        key = id(counted), field
        _, before = self._seen.get(key, (None, 0))
        self._seen[key] = counted, total
        counter.labels(*labels).inc(max(0, total - before))

    def _time(self, latency: Latency, histogram: TalliedHistogram, *labels: str) -> None:
        counts, seconds = latency.counts, latency.seconds
        key = id(latency), ""
        _, (counts_before, seconds_before) = self._seen.get(key, (None, ([0] * len(counts), 0.0)))
        self._seen[key] = latency, (counts, seconds)
        if counts != counts_before:
            more = [now - before for now, before in zip(counts, counts_before, strict=True)]
            histogram.labels(*labels).add(more, seconds - seconds_before)


def _encodable(text: str) -> str:
    """``text`` in UTF-8, without half characters."""
    return text.encode("utf-8", "backslashreplace").decode("utf-8")

"""Listens to the signals of the framework, and counts what happens."""

import atexit
import logging
import os
import threading
from typing import Any

from django.conf import settings
from django.utils.module_loading import import_string

from ... import signals
from ..._runtime import tallies
from ..._runtime.forks import in_child
from .client import REGISTRY, CollectorRegistry, InvalidMetrics, start_http_server
from .definitions import Metrics
from .labels import Bounded, consumer_name
from .mirror import Mirror

__all__ = ["MULTIPROCESS", "Listener", "configured", "metrics", "start"]

logger = logging.getLogger("channels.prometheus")

#: The environment variable that names the folder in which processes put their metrics together.
MULTIPROCESS = "PROMETHEUS_MULTIPROC_DIR"

# Seconds between two times that a process writes into that folder what it has counted.
_INTERVAL = 1.0

_KEYS = frozenset({"registry", "worker_port", "worker_address"})


def configured() -> dict[str, Any]:
    """The setting ``CHANNELS_PROMETHEUS``.

    Raises:
        InvalidMetrics: it is nothing that it may be.
    """
    found = getattr(settings, "CHANNELS_PROMETHEUS", {})
    if not isinstance(found, dict) or found.keys() - _KEYS:
        known = ", ".join(sorted(_KEYS))
        raise InvalidMetrics(f"CHANNELS_PROMETHEUS must be a dict with some of {known}: {found!r}")
    port = found.get("worker_port")
    if port is not None and (type(port) is not int or not 0 <= port < 65536):
        raise InvalidMetrics(
            f'CHANNELS_PROMETHEUS["worker_port"] must be a number of a port, not {port!r}'
        )
    return found


def _registry() -> CollectorRegistry:
    path = configured().get("registry")
    if path is None:
        return REGISTRY
    try:
        registry = import_string(path)
    except (ImportError, AttributeError) as error:
        raise InvalidMetrics(f'CHANNELS_PROMETHEUS["registry"]: {error}') from error
    if not isinstance(registry, CollectorRegistry):
        raise InvalidMetrics(
            f'CHANNELS_PROMETHEUS["registry"] must name a CollectorRegistry; {path} is {registry!r}'
        )
    return registry


class Listener:
    """Keeps the metrics of this process.

    Args:
        registry: where they are registered.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.metrics = Metrics(registry)
        self.mirror = Mirror(self.metrics)
        self._consumers = Bounded()
        self._codes, self._statuses, self._reasons = Bounded(50), Bounded(50), Bounded(20)
        self._brokers, self._channels, self._tasks = Bounded(20), Bounded(), Bounded()
        self._limits, self._kinds, self._actions = Bounded(50), Bounded(10), Bounded(10)
        self._purposes, self._outcomes, self._protocols = Bounded(10), Bounded(10), Bounded(10)
        self._flusher: threading.Thread | None = None
        in_child(self._forked)

    def connect(self) -> None:
        """Listen from now on."""
        for name in signals.__all__:
            receiver = getattr(self, f"_{name}", None)
            if receiver is not None:
                uid = f"channels.contrib.prometheus {name}"
                getattr(signals, name).connect(receiver, weak=False, dispatch_uid=uid)
        self._connect_tasks()
        tallies.start()
        atexit.register(self.mirror.refresh)

    def _connect_tasks(self) -> None:
        try:
            from ..tasks.compat import task_enqueued, task_finished  # noqa: PLC0415
        except ImportError:  # pragma: no cover - Django 5.2 without the extra for tasks
            return
        for signal, receiver in ((task_enqueued, self._enqueued), (task_finished, self._finished)):
            signal.connect(receiver, weak=False, dispatch_uid="channels.contrib.prometheus")

    # Connections. The names of these methods are those of the signals.

    def _connection_opened(self, sender: type, **others: Any) -> None:
        self.flush_from_now_on()
        self.metrics.connections.labels(self._consumer(sender)).inc()

    def _connection_closed(
        self, sender: type, code: object, duration: float, **others: Any
    ) -> None:
        consumer = self._consumer(sender)
        self.metrics.connections.labels(consumer).dec()
        self.metrics.connection_seconds.labels(consumer).observe(duration)
        self.metrics.closed.labels(consumer, self._codes(code)).inc()

    def _connection_refused(self, scope: Any, status: object, **others: Any) -> None:
        protocol = self._protocols(scope.get("type"))
        self.metrics.refused.labels(protocol, self._statuses(status)).inc()

    def _handshake_finished(
        self, sender: type, outcome: str, seconds: float, **others: Any
    ) -> None:
        consumer = self._consumer(sender)
        self.metrics.handshakes.labels(consumer, self._outcomes(outcome)).inc()
        self.metrics.handshake_seconds.labels(consumer).observe(seconds)

    def _limit_exceeded(self, limit: str, key_kind: str, action: str, **others: Any) -> None:
        labels = self._limits(limit), self._kinds(key_kind), self._actions(action)
        self.metrics.limits.labels(*labels).inc()

    def _consumer_crashed(self, sender: type, **others: Any) -> None:
        self.metrics.crashes.labels(self._consumer(sender)).inc()

    def _handler_cancelled(self, sender: type, **others: Any) -> None:
        self.metrics.cancelled.labels(self._consumer(sender)).inc()

    def _send_dropped(self, sender: type, **others: Any) -> None:
        self.metrics.sends_dropped.labels(self._consumer(sender)).inc()

    def _client_stalled(self, sender: type, **others: Any) -> None:
        self.metrics.stalled.labels(self._consumer(sender)).inc()

    def _consumer(self, cls: type) -> str:
        return self._consumers(consumer_name(cls))

    # Layers

    def _message_dropped(self, reason: str, count: int, **others: Any) -> None:
        self.metrics.layer_dropped.labels(self._reasons(reason)).inc(count)

    def _layer_gap(self, channels: int, **others: Any) -> None:
        self.metrics.layer_gaps.inc(channels)

    def _broker_lost(self, broker: str, purpose: str, **others: Any) -> None:
        labels = self._brokers(broker), self._purposes(purpose)
        self.metrics.broker_losses.labels(*labels).inc()
        self.metrics.broker_up.labels(*labels).set(0)

    def _broker_recovered(self, broker: str, purpose: str, **others: Any) -> None:
        self.metrics.broker_up.labels(self._brokers(broker), self._purposes(purpose)).set(1)

    # The process

    def _event_loop_lagged(self, seconds: float, **others: Any) -> None:
        self.metrics.lag.observe(seconds)

    def _server_started(self, **others: Any) -> None:
        self.flush_from_now_on()

    def _server_stopping(self, **others: Any) -> None:
        self.mirror.refresh()

    # Workers and tasks

    def _worker_started(self, **others: Any) -> None:
        self.flush_from_now_on()
        self.metrics.workers.inc()
        options = configured()
        port, address = options.get("worker_port"), options.get("worker_address", "127.0.0.1")
        if port is None:
            return
        try:
            _Served(self).begin(port, address)
        except OSError as error:
            logger.error(
                "The metrics of this worker cannot be read at %s:%d: %s. Workers on one machine "
                "need a port each, or the environment variable %s",
                address,
                port,
                error,
                MULTIPROCESS,
            )

    def _worker_stopping(self, **others: Any) -> None:
        self.metrics.workers.dec()

    def _job_finished(self, channel: str, seconds: float, outcome: str, **others: Any) -> None:
        labels = self._channels(channel), self._outcomes(outcome)
        self.metrics.job_seconds.labels(*labels).observe(seconds)

    def _listener_failed(self, channel: str, **others: Any) -> None:
        self.metrics.listener_failures.labels(self._channels(channel)).inc()

    def _enqueued(self, task_result: Any, **others: Any) -> None:
        self.metrics.tasks_enqueued.labels(self._tasks(task_result.task.module_path)).inc()

    def _finished(self, task_result: Any, **others: Any) -> None:
        self.flush_from_now_on()
        began, ended = task_result.started_at, task_result.finished_at
        if began is not None and ended is not None:
            labels = self._tasks(task_result.task.module_path), str(task_result.status.value)
            seconds = (ended - began).total_seconds()
            self.metrics.task_seconds.labels(*labels).observe(max(0.0, seconds))

    # Several processes

    def flush_from_now_on(self) -> None:
        """Write what is counted into the folder of all processes, if there is one."""
        if self._flusher is None and MULTIPROCESS in os.environ:
            self._flusher = threading.Thread(
                target=self._flush, name="channels-prometheus", daemon=True
            )
            self._flusher.start()

    def _flush(self) -> None:
        never = threading.Event()
        while True:
            self.mirror.refresh()
            never.wait(_INTERVAL)

    def _forked(self) -> None:
        """A child has none of its parent's threads."""
        self._flusher = None


class _Served(CollectorRegistry):
    """What a port of its own shows: the registry, up to date."""

    def __init__(self, listener: Listener) -> None:
        super().__init__()
        self._listener = listener

    def begin(self, port: int, address: str) -> None:
        """Serve from now on."""
        start_http_server(port, address, registry=self)

    def collect(self) -> Any:
        """What Prometheus reads."""
        self._listener.mirror.refresh()
        return self._listener.metrics.registry.collect()


_listener: Listener | None = None


def start() -> Listener:
    """Begin to count, if this process does not already.

    Raises:
        InvalidMetrics: the setting ``CHANNELS_PROMETHEUS`` or its registry is not usable.
    """
    global _listener  # noqa: PLW0603 - a process counts or not, as a whole
    if _listener is None:
        _listener = Listener(_registry())
        _listener.connect()
    return _listener


def metrics() -> Listener:
    """The listener of this process.

    Raises:
        InvalidMetrics: the app is not installed, so nothing is counted.
    """
    if _listener is None:
        raise InvalidMetrics(
            'Nothing is counted: add "channels.contrib.prometheus" to INSTALLED_APPS'
        )
    return _listener

"""Every metric, with its name, its help and its labels."""

from collections.abc import Sequence

from ..._runtime.tallies import BUCKETS
from .client import CollectorRegistry, Counter, Gauge, Histogram, InvalidMetrics

__all__ = ["Metrics", "TalliedHistogram"]

# Seconds that connections last: up to a day.
_LIVES = (1, 5, 15, 60, 300, 900, 3600, 4 * 3600, 24 * 3600)
_JOBS = (0.01, 0.05, 0.1, 0.5, 1, 5, 15, 60, 300, 900, 3600)


class TalliedHistogram(Histogram):
    """A histogram of durations that were sorted into classes elsewhere."""

    def add(self, counts: Sequence[int], seconds: float) -> None:
        """So many more durations in each class, and so many more seconds all together."""
        for bucket, count in zip(self._buckets, counts, strict=True):
            if count:
                bucket.inc(count)
        self._sum.inc(seconds)


class Metrics:
    """The metrics of this process.

    Args:
        registry: where they are registered.

    Raises:
        InvalidMetrics: it has metrics with these names.
    """

    def __init__(self, registry: CollectorRegistry) -> None:
        self.registry = registry
        try:
            self._define_connections()
            self._define_layers()
            self._define_process()
            self._define_work()
        except ValueError as error:
            raise InvalidMetrics(
                f"{error}. Something else has registered metrics of that name in the registry of "
                "channels.contrib.prometheus; give Channels another one: "
                'CHANNELS_PROMETHEUS = {"registry": "myproject.metrics.registry"}'
            ) from error

    def _counter(self, name: str, text: str, *labels: str) -> Counter:
        return Counter(f"channels_{name}", text, labels, registry=self.registry)

    def _gauge(self, name: str, text: str, *labels: str, mode: str = "livesum") -> Gauge:
        return Gauge(
            f"channels_{name}",
            text,
            labels,
            registry=self.registry,
            multiprocess_mode=mode,  # type: ignore[arg-type]
        )

    def _times(
        self, name: str, text: str, *labels: str, buckets: Sequence[float] = BUCKETS
    ) -> TalliedHistogram:
        name = f"channels_{name}"
        return TalliedHistogram(name, text, labels, registry=self.registry, buckets=buckets)

    def _define_connections(self) -> None:
        counter, gauge, times = self._counter, self._gauge, self._times
        who = "consumer"
        self.connections = gauge("connections", "Connections that are open.", who)
        self.handshakes = counter(
            "handshakes", "Handshakes of WebSockets that have ended, by outcome.", who, "outcome"
        )
        self.handshake_seconds = times(
            "handshake_seconds", "Time until a handshake was answered, in seconds.", who
        )
        self.refused = counter(
            "connections_refused",
            "Handshakes and requests that were refused, by HTTP status.",
            "protocol",
            "status",
        )
        self.connection_seconds = times(
            "connection_seconds", "How long connections lasted, in seconds.", who, buckets=_LIVES
        )
        self.closed = counter(
            "connections_closed", "Connections that have ended, by close code.", who, "code"
        )
        self.received = counter("messages_received", "Messages from clients.", who)
        self.received_bytes = counter("received_bytes", "Bytes of messages from clients.", who)
        self.sent = counter("messages_sent", "Messages to clients.", who)
        self.sent_bytes = counter("sent_bytes", "Bytes of messages to clients.", who)
        self.handler_seconds = times(
            "handler_seconds", "Time that handlers took, in seconds.", who, "message_type"
        )
        self.crashes = counter("crashes", "Handlers and background tasks that raised.", who)
        self.cancelled = counter(
            "handlers_cancelled", "Handlers that outlived their client and were cancelled.", who
        )
        self.sends_dropped = counter(
            "sends_dropped", "Messages to clients that had gone already.", who
        )
        self.stalled = counter(
            "clients_stalled", "Clients that were cut off because they did not read.", who
        )
        self.limits = counter(
            "limits_exceeded",
            "Limits that clients have exceeded.",
            "limit",
            "key_kind",
            "action",
        )

    def _define_layers(self) -> None:
        counter = self._counter
        self.layer_send_seconds = self._times(
            "layer_send_seconds",
            "Time until the broker had a message that was sent, in seconds.",
            "layer",
            "to",
        )
        self.layer_delivered = counter(
            "layer_messages_delivered", "Messages handed to a recipient in this process.", "layer"
        )
        self.layer_pending = self._gauge(
            "layer_messages_pending",
            "Messages that have arrived in this process and wait to be handled.",
            "layer",
        )
        self.layer_dropped = counter(
            "layer_messages_dropped", "Messages that a channel layer lost, by reason.", "reason"
        )
        self.layer_gaps = counter(
            "layer_gaps", "Consumers told that messages may have been lost after a fault."
        )
        self.broker_up = self._gauge(
            "broker_up",
            "Whether a connection to a broker works (1) or is being tried again (0).",
            "broker",
            "purpose",
            mode="livemin",
        )
        self.broker_losses = counter(
            "broker_losses", "Connections to a broker that broke.", "broker", "purpose"
        )

    def _define_process(self) -> None:
        gauge = self._gauge
        self.lag = self._times(
            "event_loop_lag_seconds", "How late the event loop ran a callback, in seconds."
        )
        self.threads = gauge("sync_threads", "Threads for handlers of synchronous consumers.")
        self.threads_busy = gauge("sync_threads_busy", "Of these, how many run a handler.")
        self.threads_waiting = gauge("sync_handlers_waiting", "Handlers that wait for a thread.")
        self.draining = gauge("draining", "Processes that are about to end.")

    def _define_work(self) -> None:
        self.workers = self._gauge("workers", "Workers that listen to channels.")
        self.job_seconds = self._times(
            "worker_job_seconds",
            "Time that a worker took for a message, in seconds, by outcome.",
            "channel",
            "outcome",
            buckets=_JOBS,
        )
        self.listener_failures = self._counter(
            "worker_listener_failures", "Failures to receive from a channel.", "channel"
        )
        self.tasks_enqueued = self._counter("tasks_enqueued", "Tasks that were enqueued.", "task")
        self.task_seconds = self._times(
            "task_seconds",
            "Time that tasks took, in seconds, by status.",
            "task",
            "status",
            buckets=_JOBS,
        )

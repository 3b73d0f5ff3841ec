"""The package prometheus-client. Nothing else of Channels imports it."""

from django.core.exceptions import ImproperlyConfigured

from ...exceptions import ChannelsError

try:
    from prometheus_client import REGISTRY, CollectorRegistry, Counter, Gauge, Histogram
    from prometheus_client.exposition import choose_encoder, start_http_server
    from prometheus_client.multiprocess import MultiProcessCollector, mark_process_dead
except ImportError as error:  # pragma: no cover - a test in a process of its own hides the package
    raise ImproperlyConfigured(
        "There is no package prometheus-client, which channels.contrib.prometheus needs: "
        'pip install "channels[prometheus]"'
    ) from error

__all__ = [
    "REGISTRY",
    "CollectorRegistry",
    "Counter",
    "Gauge",
    "Histogram",
    "InvalidMetrics",
    "MultiProcessCollector",
    "choose_encoder",
    "mark_process_dead",
    "start_http_server",
]


class InvalidMetrics(ChannelsError, ImproperlyConfigured):
    """The metrics are configured in a way that does not work. The text says what to write."""

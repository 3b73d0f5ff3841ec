"""The Django application, which begins to count."""

from django.apps import AppConfig
from django.core import checks

__all__ = ["PrometheusConfig"]


class PrometheusConfig(AppConfig):
    """Listens to signals, and counts, from the start of the process on."""

    name = "channels.contrib.prometheus"
    label = "channels_prometheus"
    verbose_name = "Metrics for Prometheus"

    def ready(self) -> None:
        """Begin to count."""
        from .checks import check_metrics  # noqa: PLC0415 - not before the settings are there
        from .listening import start  # noqa: PLC0415

        start()
        checks.register(check_metrics)

"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Operations."""

    name = "dashboard"
    verbose_name = "Operations"
    summary = "Connections, rates and drops of this very process."
    index = "dashboard"

    def ready(self) -> None:
        """Begin to count."""
        from .metrics import metrics  # noqa: PLC0415

        metrics.listen()

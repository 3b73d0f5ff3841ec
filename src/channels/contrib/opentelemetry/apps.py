"""The Django app, which traces from the start."""

from django.apps import AppConfig

__all__ = ["OpenTelemetryConfig"]


class OpenTelemetryConfig(AppConfig):
    """Traces everything, with the tracer provider that is set by then or later."""

    name = "channels.contrib.opentelemetry"
    label = "channels_opentelemetry"
    verbose_name = "Traces of Channels"

    def ready(self) -> None:
        """Begin to listen."""
        from . import instrument  # noqa: PLC0415 - says what is missing only when it is used

        instrument()

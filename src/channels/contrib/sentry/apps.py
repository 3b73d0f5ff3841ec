"""The Django app."""

from django.apps import AppConfig

__all__ = ["SentryConfig"]


class SentryConfig(AppConfig):
    """Adds to Sentry's events what is known of connections."""

    name = "channels.contrib.sentry"
    label = "channels_sentry"
    verbose_name = "Reports of Channels to Sentry"

    def ready(self) -> None:
        """Begin to listen."""
        from . import instrument  # noqa: PLC0415 - says what is missing only when it is used

        instrument()

"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Notifications."""

    name = "notifications"
    verbose_name = "Notifications"
    summary = "A bell that counts, whatever saves the notification."
    index = "notifications"

    def ready(self) -> None:
        """Connect the signals."""
        from . import signals  # noqa: F401, PLC0415

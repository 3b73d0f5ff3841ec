"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class NotificationsConfig(AppConfig):
    """Notifications."""

    name = "notifications"
    verbose_name = "Notifications"
    summary = "A bell that counts, whatever saves the notification."
    index = "notifications"

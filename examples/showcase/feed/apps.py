"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class FeedConfig(AppConfig):
    """Data feed."""

    name = "feed"
    verbose_name = "Data feed"
    summary = "Charts of live data, twenty updates a second."
    index = "feed"

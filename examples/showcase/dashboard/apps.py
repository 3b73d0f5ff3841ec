"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class DashboardConfig(AppConfig):
    """Operations."""

    name = "dashboard"
    verbose_name = "Operations"
    summary = "Connections, rates and drops of this very process."
    index = "dashboard"

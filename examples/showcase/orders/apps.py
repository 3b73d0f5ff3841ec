"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class OrdersConfig(AppConfig):
    """Orders."""

    name = "orders"
    verbose_name = "Orders"
    summary = "The status of an order, the same in every tab."
    index = "orders"

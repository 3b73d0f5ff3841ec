"""The WebSocket of the page: all progress of the customer, ready-made."""

from channels.contrib.progress import ProgressConsumer


class OrdersConsumer(ProgressConsumer):
    """Shows how far the customer's pictures are, and soon when a painter is lost."""

    look_interval = 2.0

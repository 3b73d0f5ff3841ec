"""Counts what this process does. To watch several processes, send such numbers to a system of
metrics: see ``channels.contrib`` and the documentation of signals."""

import os
import socket
import time
from collections import Counter
from typing import Any

from channels import signals
from channels.layers import get_channel_layer
from django.conf import settings

#: What can go wrong, and the signal of it.
TROUBLE = {
    "refused": signals.connection_refused,
    "crashed": signals.consumer_crashed,
    "cancelled": signals.handler_cancelled,
    "unsent": signals.send_dropped,
    "stalled": signals.client_stalled,
}


class Metrics:
    """The numbers. Receivers of signals are called on the event loop, so they only count."""

    def __init__(self) -> None:
        self.begun = time.time()
        #: Open connections, by consumer and protocol.
        self.open: Counter[tuple[str, str]] = Counter()
        self.opened = 0
        self.trouble: Counter[str] = Counter()

    def listen(self) -> None:
        """Connect the signals."""
        signals.connection_opened.connect(self.on_opened)
        signals.connection_closed.connect(self.on_closed)
        for name, signal in TROUBLE.items():

            def count(name: str = name, **kwargs: Any) -> None:
                self.trouble[name] += 1

            signal.connect(count, weak=False)

    def on_opened(self, sender: type, scope: dict[str, Any], **kwargs: Any) -> None:
        self.open[sender.__name__, scope["type"]] += 1
        self.opened += 1

    def on_closed(self, sender: type, scope: dict[str, Any], **kwargs: Any) -> None:
        self.open[sender.__name__, scope["type"]] -= 1

    def snapshot(self) -> dict[str, Any]:
        """All numbers as they are now, for a page."""
        now = time.time()
        return {
            "type": "snapshot",
            "at": now,
            "process": {"pid": os.getpid(), "host": socket.gethostname(), "age": now - self.begun},
            "consumers": [
                {"name": name, "protocol": protocol, "open": count}
                for (name, protocol), count in sorted(self.open.items())
            ],
            "opened": self.opened,
            "trouble": {name: self.trouble[name] for name in TROUBLE},
            "layers": [layer_numbers(alias) for alias in settings.CHANNEL_LAYERS],
        }


def layer_numbers(alias: str) -> dict[str, Any]:
    """What a channel layer has carried and lost. One of others may not count."""
    layer = get_channel_layer(alias)
    statistics = getattr(layer, "statistics", None)
    numbers: dict[str, Any] = {"sent": 0, "delivered": 0, "pending": 0, "dropped": {}}
    numbers = {name: getattr(statistics, name, default) for name, default in numbers.items()}
    return {"alias": alias, "kind": type(layer).__name__, **numbers}


metrics = Metrics()

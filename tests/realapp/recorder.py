"""What happened to each connection, in a file that outlives the server process."""

import json
import os
import threading
import time
from collections import defaultdict
from typing import Any

from django.conf import settings

__all__ = ["gates", "record"]

#: By connection: what its handler waits for where a test has asked it to.
gates: defaultdict[str, threading.Event] = defaultdict(threading.Event)

_file = os.open(
    settings.DIRECTORY / "events.jsonl", os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600
)


def record(key: str, event: str, **details: Any) -> None:
    """Add a line in one write, which threads cannot tear apart."""
    line = {"key": key, "event": event, "time": time.monotonic(), **details}
    os.write(_file, json.dumps(line).encode() + b"\n")

"""The site that the load tests put behind a real server, and a look at what is in its process.

``LOAD_REDIS`` is the URL of the channel layer's Redis; without it, the layer is in memory.
"""

import asyncio
import gc
import json
import os
import re
from collections import Counter
from pathlib import Path
from typing import Any

from django import setup
from django.conf import settings

LAYER: dict[str, Any] = {"BACKEND": "channels.layers.InMemoryChannelLayer"}
if url := os.environ.get("LOAD_REDIS"):
    LAYER = {"BACKEND": "channels_redis.core.RedisChannelLayer", "CONFIG": {"hosts": [url]}}

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CHANNEL_LAYERS={"default": LAYER},
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "channels",
    ],
    SECRET_KEY="tests only",
)
setup()

from django.urls import path  # noqa: E402

from channels._runtime.connection import Connection  # noqa: E402
from channels._runtime.intake import Intake  # noqa: E402
from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.control.plane import control_layer, planes  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.layers.local import LocalChannels  # noqa: E402
from channels.layers.mailbox import Mailbox  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

__all__ = ["application"]

CROWD = "crowd"
KINDS = {"consumers": AsyncWebsocketConsumer, "connections": Connection, "intakes": Intake} | {
    "mailboxes": Mailbox
}

#: How often ``connect()`` and ``disconnect()`` have run.
calls: Counter[str] = Counter()


class Member(AsyncWebsocketConsumer):
    """In the crowd, and in a group of its own, before it is accepted; ``shout`` reaches all."""

    async def connect(self) -> None:
        calls["connect"] += 1
        await self.channel_layer.group_add(CROWD, self.channel_name)
        await self.channel_layer.group_add(f"own.{id(self)}", self.channel_name)
        await self.accept()

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.channel_layer.group_send(CROWD, {"type": "crowd.shout", "text": text_data})

    async def crowd_shout(self, event: dict[str, Any]) -> None:
        await self.send(event["text"])

    async def disconnect(self, code: int) -> None:
        calls["disconnect"] += 1


def objects() -> dict[str, int]:
    """How many of our objects there are. Not isinstance(), which would wake lazy objects."""
    gc.collect()
    kinds = Counter(type(thing) for thing in gc.get_objects())
    return {
        name: sum(count for kind, count in kinds.items() if issubclass(kind, base))
        for name, base in KINDS.items()
    }


def bookkeeping() -> int:
    """Entries in what the layer remembers of channels, groups and memberships."""
    return sum(
        len(getattr(channels, name))
        for channels in gc.get_objects()
        if issubclass(type(channels), LocalChannels)
        for name in ("_mailboxes", "_groups", "_memberships", "_unattached", "_leases")
    )


def commands() -> dict[str, int]:
    """The channels by which this process hears commands of others: how many there are to be."""
    listening = sum(plane.listens.is_set() for _, plane in planes.all())
    return {"listening": listening, "wanted": len(planes.all()) if control_layer() else 0}


def resident_kib() -> int:
    """Memory of this process that is in use (Linux)."""
    status = Path("/proc/self/status").read_text()
    found = re.search(r"^VmRSS:\s+(\d+) kB$", status, re.MULTILINE)
    return int(found[1]) if found else 0


def look() -> dict[str, Any]:
    """What is in the process at this moment."""
    statistics = get_channel_layer().statistics
    return {
        "calls": calls,
        "objects": objects(),
        "commands": commands(),
        "layer": bookkeeping(),
        "tasks": len(asyncio.all_tasks()),
        "files": len(list(Path("/proc/self/fd").iterdir())),
        "pending": statistics.pending,
        "sent": statistics.sent,
        "delivered": statistics.delivered,
        "dropped": dict(statistics.dropped),
        "resident_kib": resident_kib(),
    }


async def state(scope: Any, receive: Any, send: Any) -> None:
    body = json.dumps(look()).encode()
    headers = [(b"content-type", b"application/json"), (b"content-length", b"%d" % len(body))]
    await send({"type": "http.response.start", "status": 200, "headers": headers})
    await send({"type": "http.response.body", "body": body})


application = ProtocolTypeRouter(
    {
        "http": URLRouter([path("state/", state)]),
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter([path("crowd/", Member.as_asgi())]))
        ),
    }
)

# What is there from the start need not be looked through for what connections leave behind.
gc.collect()
gc.freeze()

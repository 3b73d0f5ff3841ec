"""A site with one limit at each path, by async and by sync consumers, that tells what it counted.

``LIMITS_TRUSTED`` has the setting ``CHANNELS_TRUSTED_PROXIES`` as JSON.
"""

import json
import os
from collections import Counter

import django
from asgiref.sync import async_to_sync
from django.conf import settings

settings.configure(
    SECRET_KEY="tests-only-tests-only-tests-only-tests-only",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    CHANNELS_TRUSTED_PROXIES=json.loads(os.environ["LIMITS_TRUSTED"]),
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
    },
)
django.setup()

from django.urls import path  # noqa: E402

from channels import signals  # noqa: E402
from channels.generic.http import AsyncHttpConsumer  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.limits import LimitMiddleware, Limits, Rate, client_address  # noqa: E402

HOUR = 3600
LIMITS = {
    "handshakes": Limits(handshakes_per_address=Rate(3, HOUR)),
    "connections": Limits(connections_per_address=2),
    "messages": Limits(messages_per_connection=Rate(5, HOUR)),
    "bytes": Limits(bytes_per_connection=Rate(1000, HOUR)),
    "size": Limits(message_size=1000),
    "groups": Limits(groups_per_connection=2),
    "silent": Limits(handshake_timeout=0.5),
    "echo": Limits(),
}
signalled: Counter[str] = Counter()
received: Counter[str] = Counter()


def on_limit(sender, limit, key_kind, action, scope, **kwargs):
    signalled[f"{scope['path']} {limit} {key_kind} {action}"] += 1


def on_refusal(sender, scope, status, **kwargs):
    signalled[f"{scope['path']} refused {status}"] += 1


signals.limit_exceeded.connect(on_limit)
signals.connection_refused.connect(on_refusal)


class Async(AsyncWebsocketConsumer):
    async def connect(self):
        if self.client_limits is not LIMITS["silent"]:
            await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        received[self.scope["path"]] += 1
        if text_data and text_data.startswith("join "):
            await self.channel_layer.group_add(text_data[5:], self.channel_name)
        await self.send(f"{len(text_data or bytes_data)} {client_address(self.scope)}")


class Sync(WebsocketConsumer):
    def connect(self):
        if self.client_limits is not LIMITS["silent"]:
            self.accept()

    def receive(self, text_data=None, bytes_data=None):
        received[self.scope["path"]] += 1
        if text_data and text_data.startswith("join "):
            async_to_sync(self.channel_layer.group_add)(text_data[5:], self.channel_name)
        self.send(f"{len(text_data or bytes_data)} {client_address(self.scope)}")


class Body(AsyncHttpConsumer):
    body_timeout = 0.5
    max_body_size = 100_000

    async def handle(self, body):
        await self.send_response(200, b"%d" % len(body))


class Told(AsyncHttpConsumer):
    async def handle(self, body):
        found = {"signalled": signalled, "received": received}
        await self.send_response(200, json.dumps(found).encode())


def consumer(base, name):
    """A consumer of its own for each path: limits, and lines in the log, are counted by class."""
    return type(f"{base.__name__}{name.title()}", (base,), {"client_limits": LIMITS[name]})


application = ProtocolTypeRouter(
    {
        "websocket": LimitMiddleware(
            URLRouter(
                [
                    path(f"{base.__name__.lower()}/{name}/", consumer(base, name).as_asgi())
                    for base in (Async, Sync)
                    for name in LIMITS
                ]
            ),
            connections_per_address=200,
        ),
        "http": URLRouter([path("body/", Body.as_asgi()), path("told/", Told.as_asgi())]),
    }
)

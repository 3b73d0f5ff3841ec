"""A site that shows its metrics, for several processes of a real server."""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="not-a-secret",
    INSTALLED_APPS=["channels", "channels.contrib.prometheus"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
)
django.setup()

from channels.contrib.prometheus import MetricsApplication  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "crash":
            raise ValueError(text_data)
        await self.send(f"{os.getpid()}")


application = ProtocolTypeRouter(
    {"http": MetricsApplication(token="the-token"), "websocket": Echo.as_asgi()}
)

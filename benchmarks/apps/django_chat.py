"""The Channels contenders: the chat of the tutorials, the same file for every version."""

import json
import os
import time

from django import setup
from django.conf import settings
from layers import LAYERS

settings.configure(
    ALLOWED_HOSTS=["127.0.0.1"],
    CHANNEL_LAYERS=LAYERS,
    DATABASES={"default": {"ENGINE": "django.db.backends.sqlite3", "NAME": ":memory:"}},
    INSTALLED_APPS=[
        "django.contrib.auth",
        "django.contrib.contenttypes",
        "django.contrib.sessions",
        "channels",
        *os.environ.get("BENCHMARK_APPS", "").split(),
    ],
    SECRET_KEY="only for benchmarks",
)
setup()

from django.urls import path  # noqa: E402

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402


class Echo(AsyncWebsocketConsumer):
    async def receive(self, text_data):
        await self.send(text_data)


class Blocking(WebsocketConsumer):
    def receive(self, text_data):
        time.sleep(0.05)
        self.send(text_data)


class Chat(AsyncWebsocketConsumer):
    async def connect(self):
        self.group = "room_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()

    async def disconnect(self, code):
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive(self, text_data):
        text = json.loads(text_data)["text"]
        await self.channel_layer.group_send(self.group, {"type": "chat.message", "text": text})

    async def chat_message(self, event):
        await self.send(json.dumps({"text": event["text"]}))


application = ProtocolTypeRouter(
    {
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(
                URLRouter(
                    [
                        path("echo/", Echo.as_asgi()),
                        path("blocking/", Blocking.as_asgi()),
                        path("chat/<slug:room>/", Chat.as_asgi()),
                    ]
                )
            )
        )
    }
)

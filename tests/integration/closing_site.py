"""A Django site whose views end with ``close_pools()`` while consumers are connected."""

import os

import django
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from channels.layers import get_channel_layer

from .callers import configure


def by_async_to_sync(request, text):
    layer = get_channel_layer()
    async_to_sync(layer.group_send)("room", {"type": "room.line", "text": text})
    async_to_sync(layer.close_pools)()
    return HttpResponse("sent")


async def by_await(request, text):
    layer = get_channel_layer()
    await layer.group_send("room", {"type": "room.line", "text": text})
    await layer.close_pools()
    return HttpResponse("sent")


urlpatterns = [
    path("async_to_sync/<text>", by_async_to_sync),
    path("await/<text>", by_await),
]


def make_application():
    """For an ASGI server started with ``--factory``; the broker's port is in the environment."""
    configure(os.environ["BROKER_PORT"])
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    django.setup(set_prefix=False)
    from django.core.asgi import get_asgi_application

    from channels.generic.websocket import AsyncWebsocketConsumer
    from channels.routing import ProtocolTypeRouter

    class RoomConsumer(AsyncWebsocketConsumer):
        groups = ["room"]

        async def room_line(self, event):
            await self.send(event["text"])

        async def layer_gap(self, event):
            await self.send(f"gap: {event['reason']}")

        async def receive(self, text_data=None, bytes_data=None):
            await self.channel_layer.group_send("room", {"type": "room.line", "text": text_data})
            await self.channel_layer.close_pools()

    return ProtocolTypeRouter({"http": get_asgi_application(), "websocket": RoomConsumer.as_asgi()})

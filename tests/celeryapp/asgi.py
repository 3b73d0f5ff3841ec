import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.celeryapp.settings")

import django
from django.urls import path

django.setup()

from channels.generic.websocket import AsyncJsonWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402


class Listener(AsyncJsonWebsocketConsumer):
    """Tells its client of everything that is sent to a group, or to itself."""

    async def connect(self):
        await self.channel_layer.group_add(
            self.scope["url_route"]["kwargs"]["group"], self.channel_name
        )
        await self.accept()
        await self.send_json({"channel": self.channel_name})

    async def report(self, message):
        await self.send_json(message)

    async def progress_report(self, message):
        await self.send_json(message)

    async def layer_gap(self, message):
        await self.send_json(message)


application = ProtocolTypeRouter(
    {"websocket": URLRouter([path("listen/<slug:group>/", Listener.as_asgi())])}
)

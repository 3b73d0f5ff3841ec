"""The site that the live server serves in tests: pages and sockets that use the database."""

import asyncio
import json
import threading
import time
import uuid
from contextlib import suppress

from django.contrib.auth.models import Group
from django.core.asgi import get_asgi_application
from django.db import transaction
from django.http import HttpResponse, StreamingHttpResponse
from django.urls import path

from channels.auth import AuthMiddlewareStack
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.lifespan import Lifespan
from channels.routing import ProtocolTypeRouter, URLRouter

__all__ = ["application", "ended", "lifespan", "refusing"]

ended: list[tuple[str, int]] = []
"""The close codes that ``disconnect()`` was called with, and where."""

lifespan: list[str] = []
"""What the server told the application about itself."""


def names(request):
    return HttpResponse(",".join(Group.objects.order_by("name").values_list("name", flat=True)))


async def async_names(request):
    found = [group.name async for group in Group.objects.order_by("name")]
    return HttpResponse(",".join(found))


async def forever(request):
    async def ticks():
        try:
            while True:
                yield b"tick\n"
                await asyncio.sleep(0.01)
        finally:
            ended.append(("forever", 0))

    return StreamingHttpResponse(ticks())


urlpatterns = [
    path("names/", names),
    path("async/names/", async_names),
    path("forever/", forever),
]


class Undo(Exception):
    pass


def add_group(name: str) -> None:
    """Several statements in transactions of which one is undone, with a moment in between."""
    with transaction.atomic():
        Group.objects.create(name=f"{name}-a")
        with suppress(Undo), transaction.atomic():
            Group.objects.create(name=f"{name}-undone")
            time.sleep(0.001)
            raise Undo
        Group.objects.create(name=f"{name}-b")
    with suppress(Undo), transaction.atomic():
        Group.objects.create(name=f"{name}-never")
        time.sleep(0.001)
        raise Undo


class SyncConsumer(WebsocketConsumer):
    """Adds groups, on the pool of threads."""

    def receive(self, text_data=None, bytes_data=None):
        if text_data == "thread":
            self.send(text_data=threading.current_thread().name)
            return
        if text_data.startswith("sleep"):
            self.send(text_data=text_data)
            time.sleep(float(text_data.split()[1]))
            Group.objects.create(name=text_data)
            ended.append(("slept", 0))
            return
        add_group(text_data)
        self.send(text_data=text_data)

    def disconnect(self, code):
        Group.objects.create(name=f"left {uuid.uuid4()}")
        ended.append(("sync", code))


class AsyncConsumer(AsyncWebsocketConsumer):
    """Adds groups, in the thread-sensitive thread or in any, and says what the layer says."""

    groups = ["news"]

    async def receive(self, text_data=None, bytes_data=None):
        sensitive = not text_data.startswith("any")
        await database_sync_to_async(add_group, thread_sensitive=sensitive)(text_data)
        await self.send(text_data=text_data)

    async def news_line(self, event):
        await self.send(text_data=event["text"])

    async def disconnect(self, code):
        await Group.objects.acreate(name=f"left {uuid.uuid4()}")
        ended.append(("async", code))


class WhoConsumer(AsyncWebsocketConsumer):
    async def connect(self):
        await self.accept()
        user = self.scope["user"]
        await self.send(text_data=json.dumps(user.get_username()))


def refuse() -> None:
    raise ConnectionError("the mill has stopped")


refusing = Lifespan(on_startup=[refuse])

application = ProtocolTypeRouter(
    {
        "lifespan": Lifespan(
            on_startup=[lambda: lifespan.append("startup")],
            on_shutdown=[lambda: lifespan.append("shutdown")],
        ),
        "http": get_asgi_application(),
        "websocket": AuthMiddlewareStack(
            URLRouter(
                [
                    path("sync/", SyncConsumer.as_asgi()),
                    path("async/", AsyncConsumer.as_asgi()),
                    path("who/", WhoConsumer.as_asgi()),
                ]
            )
        ),
    }
)

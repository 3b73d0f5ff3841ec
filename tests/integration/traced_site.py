"""A site of which one request reaches consumers in other processes, a worker and a task."""

import os

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.integration.traced_settings")

from django.core.asgi import get_asgi_application

django_application = get_asgi_application()

from django.http import HttpResponse  # noqa: E402
from django.urls import path  # noqa: E402
from opentelemetry import propagate, trace  # noqa: E402

from channels.consumer import AsyncConsumer  # noqa: E402
from channels.contrib.tasks.compat import task  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.layers import get_sync_channel_layer  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402


@task
def count(text):
    get_sync_channel_layer().group_send("room", {"type": "chat.counted", "text": f"{len(text)}"})


def say(request, text):
    """A synchronous view, which sends to a group and to a worker, and enqueues a task."""
    layer = get_sync_channel_layer()
    layer.group_send("room", {"type": "chat.message", "text": text})
    layer.send("translations", {"type": "translate", "text": text})
    count.enqueue(text)
    return HttpResponse("said")


urlpatterns = [path("say/<text>", say)]


class Chat(AsyncWebsocketConsumer):
    groups = ["room"]

    async def chat_message(self, event):
        await self.send(event["text"])

    chat_translated = chat_counted = chat_message


class SyncChat(WebsocketConsumer):
    groups = ["room"]

    def chat_message(self, event):
        self.send(event["text"])

    chat_translated = chat_counted = chat_message


class Translator(AsyncConsumer):
    async def translate(self, event):
        text = event["text"].upper()
        await self.channel_layer.group_send("room", {"type": "chat.translated", "text": text})


def traced(application):
    """A span for each request, as the instrumentation of ASGI makes it."""

    async def wrapped(scope, receive, send):
        headers = {name.decode(): value.decode() for name, value in scope["headers"]}
        tracer = trace.get_tracer("site")
        name = f"{scope['method']} {scope['path']}"
        outer, kind = propagate.extract(headers), trace.SpanKind.SERVER
        with tracer.start_as_current_span(name, context=outer, kind=kind):
            await application(scope, receive, send)

    return wrapped


application = ProtocolTypeRouter(
    {
        "http": traced(django_application),
        "websocket": URLRouter([path("async/", Chat.as_asgi()), path("sync/", SyncChat.as_asgi())]),
        "channel": ChannelNameRouter({"translations": Translator.as_asgi()}),
    }
)

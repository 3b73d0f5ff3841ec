"""A site of synchronous consumers that block, pour, and send from wherever they can."""

import asyncio
import os
import threading

import django
from asgiref.sync import async_to_sync, sync_to_async
from django.conf import settings
from django.urls import path

if not settings.configured:
    settings.configure(
        ALLOWED_HOSTS=["*"],
        SECRET_KEY="x" * 50,
        ROOT_URLCONF=__name__,
        CHANNELS_SYNC_THREADS=int(os.environ.get("SYNC_THREADS", "4")),
        LOGGING={
            "version": 1,
            "disable_existing_loggers": False,
            "handlers": {"stderr": {"class": "logging.StreamHandler", "formatter": "line"}},
            "formatters": {"line": {"format": "%(levelname)s %(name)s %(message)s"}},
            "root": {"handlers": ["stderr"], "level": "INFO"},
        },
    )
    django.setup(set_prefix=False)

from django.core.asgi import get_asgi_application
from django.http import HttpResponse, JsonResponse

from channels.contrib.health import HealthApplication
from channels.generic.websocket import WebsocketConsumer
from channels.routing import ProtocolTypeRouter, URLRouter

release = threading.Event()
count = {"made": 0, "connected": 0, "disconnected": 0}


async def state(request):
    """What there was and is: consumers, and tasks of the event loop."""
    return JsonResponse({**count, "tasks": len(asyncio.all_tasks())})


async def let_go(request):
    release.set()
    return HttpResponse("released")


class Consumer(WebsocketConsumer):
    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        count["made"] += 1

    def connect(self):
        count["connected"] += 1
        self.accept()

    def disconnect(self, code):
        count["disconnected"] += 1

    def receive(self, text_data=None, bytes_data=None):
        verb, _, rest = text_data.partition(" ")
        getattr(self, f"do_{verb}")(rest)

    def do_echo(self, text):
        self.send(text)

    def do_big(self, size):
        self.send("x" * int(size))

    def do_pour(self, arguments):
        times, size = arguments.split()
        for _ in range(int(times)):
            self.send("x" * int(size))

    def do_block(self, text):
        release.wait(60)
        self.send("released")

    # Sending on the event loop's own thread, and from elsewhere

    def do_stream(self, text):
        async def stream():
            for word in text.split():
                self.send(word)
            await asyncio.sleep(0)
            self.send("end")

        async_to_sync(stream)()
        self.send("after")

    def do_own_loop(self, text):
        async def stream():
            self.send(text)

        asyncio.run(stream())

    def do_thread(self, text):
        thread = threading.Thread(target=self.send, args=(text,))
        thread.start()
        thread.join()

    def do_back(self, text):
        async def stream():
            await sync_to_async(self.send)(text)
            await sync_to_async(self.send, thread_sensitive=False)(text)

        async_to_sync(stream)()

    def do_close(self, text):
        async def stream():
            self.send(text)
            self.close(4001)

        async_to_sync(stream)()

    def do_flood(self, text):
        async def stream():
            for _ in range(100):
                self.send("x" * 2**18)

        async_to_sync(stream)()


class Impatient(Consumer):
    send_timeout = 2.0


urlpatterns = [path("state", state), path("release", let_go)]

application = ProtocolTypeRouter(
    {
        "http": HealthApplication(get_asgi_application()),
        "websocket": URLRouter(
            [path("ws/", Consumer.as_asgi()), path("impatient/", Impatient.as_asgi())]
        ),
    }
)

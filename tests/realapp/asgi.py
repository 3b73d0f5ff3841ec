import gc
import os

from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ["DJANGO_SETTINGS_MODULE"] = "tests.realapp.settings"
django_application = get_asgi_application()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.fallback import EventStreamFallback  # noqa: E402
from channels.layers import get_channel_layer  # noqa: E402
from channels.lifespan import Lifespan  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import OriginValidator  # noqa: E402

from . import http, websockets  # noqa: E402
from .recorder import record  # noqa: E402

__all__ = ["application"]


def started(state):
    state["greeting"] = "hello"
    record("lifespan", "started")


async def stopped():
    record("lifespan", "stopped", groups=len(get_channel_layer().groups))


async def returns_at_once(scope, receive, send):
    """Somebody's ASGI application that forgets to answer the handshake."""
    await receive()


async def returns_when_asked(scope, receive, send):
    """Somebody's ASGI application that forgets to close the socket."""
    await receive()
    await send({"type": "websocket.accept"})
    await receive()


class Neighbours:
    """Middleware that knows the client before, as one that relays between clients does."""

    def __init__(self, inner):
        self.inner, self.latest = inner, None

    async def __call__(self, scope, receive, send):
        another_send, self.latest = self.latest, send

        async def wrapped(message):
            if message["type"] == "relay":
                await another_send(message)
            await send(message)

        try:
            await self.inner(scope, receive, wrapped)
        finally:
            self.latest = None


websocket_application = URLRouter(
    [
        path("ws/async/", websockets.AsyncActor.as_asgi()),
        path("ws/sync/", websockets.SyncActor.as_asgi()),
        path("ws/async/at/<path:place>/", websockets.AsyncActor.as_asgi()),
        path("ws/sync/at/<path:place>/", websockets.SyncActor.as_asgi()),
        path("ws/async/json/", websockets.AsyncJson.as_asgi()),
        path("ws/sync/json/", websockets.SyncJson.as_asgi()),
        path("ws/async/impatient/", websockets.AsyncImpatient.as_asgi()),
        path("ws/sync/impatient/", websockets.SyncImpatient.as_asgi()),
        path("ws/async/auth/", AuthMiddlewareStack(websockets.AsyncActor.as_asgi())),
        path("ws/sync/auth/", AuthMiddlewareStack(websockets.SyncActor.as_asgi())),
        path("ws/async/neighbours/", Neighbours(websockets.AsyncImpatient.as_asgi())),
        path("ws/sync/neighbours/", Neighbours(websockets.SyncImpatient.as_asgi())),
        path("ws/raw/unanswered/", returns_at_once),
        path("ws/raw/open/", returns_when_asked),
        path(
            "ws/origin/",
            OriginValidator(websockets.AsyncActor.as_asgi(), ["http://good.example"]),
        ),
    ]
)

application = ProtocolTypeRouter(
    {
        "lifespan": Lifespan(on_startup=[started], on_shutdown=[stopped]),
        "http": EventStreamFallback(
            websocket_application,
            URLRouter(
                [
                    path("consumer/answer/", http.Answer.as_asgi()),
                    path("consumer/stream/", http.Stream.as_asgi()),
                    path("consumer/poll/", http.LongPoll.as_asgi()),
                    path("consumer/crash/", http.Crash.as_asgi()),
                    path("consumer/upload/", http.Upload.as_asgi()),
                    path("consumer/events/async/", http.AsyncEvents.as_asgi()),
                    path("consumer/events/sync/", http.SyncEvents.as_asgi()),
                    path("consumer/polled/async/", http.AsyncPolled.as_asgi()),
                    path("consumer/polled/sync/", http.SyncPolled.as_asgi()),
                    path("consumer/tell/", http.Tell.as_asgi()),
                    path("consumer/at/<path:place>/", http.Where.as_asgi()),
                    re_path("", django_application),
                ]
            ),
        ),
        "websocket": websocket_application,
    }
)

# What is there from the start need not be looked through for what connections leave behind.
gc.collect()
gc.freeze()

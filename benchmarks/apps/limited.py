"""Each path twice: once within its limits, once over them.

``REDIS_URL`` says through which Redis processes share limits; without it there are no such paths.
"""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="benchmark-benchmark-benchmark-benchmark-benchmark",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    INSTALLED_APPS=["channels", "django.contrib.auth", "django.contrib.contenttypes"],
    LOGGING_CONFIG=None,
    CHANNEL_LAYERS={
        "shared": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["REDIS_URL"]]},
        }
    }
    if "REDIS_URL" in os.environ
    else {},
)
django.setup()

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer  # noqa: E402
from channels.security.limits import LimitMiddleware, Rate  # noqa: E402

DAY = 24 * 3600
MANY, ONE = Rate(10**9, DAY), Rate(1, DAY)


class Listens(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        """Nothing is sent back: an honest message that costs less does not exist."""


class ListensInThread(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        """The same."""


def shared(base, name, most):
    """Connections are counted for all processes together."""
    inner = AuthMiddlewareStack(base.as_asgi())
    return LimitMiddleware(inner, connections_per_address=most, name=name, shared="shared")


def limited(base, **limits):
    return type(base.__name__, (base,), {"client_limits": limits}).as_asgi()


APPLICATIONS = {
    f"/{name}/{kind}/{action}": application
    for name, base in (("async", Listens), ("sync", ListensInThread))
    for kind, action, application in (
        (
            "handshake",
            "accepted",
            LimitMiddleware(AuthMiddlewareStack(base.as_asgi()), handshakes_per_address=MANY),
        ),
        (
            "handshake",
            "refused",
            LimitMiddleware(AuthMiddlewareStack(base.as_asgi()), handshakes_per_address=ONE),
        ),
        ("shared", "accepted", shared(base, f"{name} accepted", 1_000_000)),
        ("shared", "refused", shared(base, f"{name} refused", 1)),
        ("message", "accepted", limited(base, messages_per_connection=MANY)),
        ("message", "refused", limited(base, messages_per_connection=ONE)),
        ("size", "accepted", limited(base, message_size=1000)),
        ("size", "refused", limited(base, message_size=1)),
    )
}


async def application(scope, receive, send):
    if scope["type"] == "websocket":
        await APPLICATIONS[scope["path"]](scope, receive, send)

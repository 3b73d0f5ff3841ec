"""A site whose processes share limits over Redis. A client names its user in the query string.

``SITE_BROKER`` says where Redis is, ``SITE_LAYER`` by which layer, ``SITE_LEASE`` for how many
seconds what a process holds outlives it.
"""

import os

import django
from django.conf import settings

settings.configure(
    SECRET_KEY="tests-only-tests-only-tests-only-tests-only",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    INSTALLED_APPS=["channels"],
    CHANNEL_LAYERS={
        "default": {
            "BACKEND": "tests.integration.shared_limits_site.Layer",
            "CONFIG": {"hosts": [os.environ["SITE_BROKER"]]},
        }
    },
    CHANNELS_LIMITS={"CONNECTIONS_PER_USER": 3, "CONNECTIONS_PER_ADDRESS": 40, "SHARED": "default"},
    LOGGING={
        "version": 1,
        "disable_existing_loggers": False,
        "handlers": {"console": {"class": "logging.StreamHandler"}},
        "root": {"handlers": ["console"], "level": "WARNING"},
    },
)
django.setup()

from django.utils.module_loading import import_string  # noqa: E402

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.middleware import BaseMiddleware  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402


class Layer(import_string(os.environ["SITE_LAYER"])):
    place_lease = float(os.environ["SITE_LEASE"])


class User:
    is_authenticated = True

    def __init__(self, pk):
        self.pk = pk


class Named(BaseMiddleware):
    """Believes what the client says, as no site may."""

    async def __call__(self, scope, receive, send):
        scope = {**scope, "user": User(scope["query_string"].decode())}
        return await self.inner(scope, receive, send)


class Echo(AsyncWebsocketConsumer):
    # A client can come although the broker is away.
    channel_layer_alias = None

    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)


application = ProtocolTypeRouter({"websocket": Named(Echo.as_asgi())})

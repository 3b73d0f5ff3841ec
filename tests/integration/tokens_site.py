"""A site that writes down whatever it can: logs, signals, metrics, traces, reports of crashes."""

import asyncio
import logging
import os
import sys
from pathlib import Path

import django
import sentry_sdk
from django.conf import settings
from opentelemetry import trace
from opentelemetry.sdk.trace import TracerProvider
from opentelemetry.sdk.trace.export import ConsoleSpanExporter, SimpleSpanProcessor
from sentry_sdk.transport import Transport

FOLDER = Path(os.environ["SITE_FOLDER"])

logging.basicConfig(level=logging.DEBUG, stream=sys.stdout)


class Printing(Transport):
    """Prints the reports that Sentry would get."""

    def capture_envelope(self, envelope):
        sys.stdout.write(f"REPORT {envelope.serialize().decode('utf-8', 'replace')}\n")


sentry_sdk.init(dsn="http://public@localhost/1", transport=Printing, include_local_variables=True)
provider = TracerProvider()
provider.add_span_processor(SimpleSpanProcessor(ConsoleSpanExporter()))
trace.set_tracer_provider(provider)

CACHE = {
    "BACKEND": "django.core.cache.backends.filebased.FileBasedCache",
    "LOCATION": str(FOLDER / "cache"),
}
if "SITE_BROKER" in os.environ:
    CACHE = {
        "BACKEND": "django.core.cache.backends.redis.RedisCache",
        "LOCATION": os.environ["SITE_BROKER"],
    }

settings.configure(
    SECRET_KEY="tests-only-tests-only-tests-only-tests-only",
    ALLOWED_HOSTS=["*"],
    USE_TZ=True,
    INSTALLED_APPS=[
        "channels",
        "channels.contrib.prometheus",
        "channels.contrib.opentelemetry",
        "channels.contrib.sentry",
        "django.contrib.auth",
        "django.contrib.contenttypes",
    ],
    DATABASES={
        "default": {
            "ENGINE": "django.db.backends.sqlite3",
            "NAME": FOLDER / "db.sqlite3",
            "OPTIONS": {"timeout": 20},
        }
    },
    CACHES={"default": CACHE},
    CHANNELS_TICKETS={"LIFETIME": 600},
    PASSWORD_HASHERS=["django.contrib.auth.hashers.MD5PasswordHasher"],
    CHANNEL_LAYERS={"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}},
    LOGGING_CONFIG=None,
)
django.setup()

from django.contrib.auth import get_user_model  # noqa: E402
from django.urls import path  # noqa: E402

from channels import signals  # noqa: E402
from channels.contrib.prometheus import MetricsApplication  # noqa: E402
from channels.generic.sse import AsyncSseConsumer  # noqa: E402
from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.tokens import (  # noqa: E402
    JWTVerifier,
    SignedTokenVerifier,
    TicketVerifier,
    TokenAuthMiddleware,
    make_ticket,
)

JWT_SECRET = "a secret of more than thirty-two bytes"

__all__ = ["SignedTokenVerifier", "application", "get_user_model", "make_ticket"]


def record(sender, **arguments):
    arguments.pop("signal")
    sys.stdout.write(f"SIGNAL {sender} {arguments!r}\n")


for name in signals.__all__:
    signal = getattr(signals, name)
    if hasattr(signal, "connect"):
        signal.connect(record, weak=False)


class Broken:
    """Fails, and tells what it was asked about."""

    async def verify(self, token):
        if token.startswith("broken_"):
            raise RuntimeError(f"cannot read {token}")


class Echo(AsyncWebsocketConsumer):
    async def connect(self):
        logging.getLogger("site").info("connected: %r", self.scope)
        await self.accept()

    async def receive(self, text_data=None, bytes_data=None):
        if text_data == "crash":
            raise ValueError(f"crashed: {self.scope!r} {vars(self)!r}")
        await self.send(self.scope["user"].get_username() or "nobody")


class Events(AsyncSseConsumer):
    async def connect(self):
        await self.accept()
        await self.send_event(self.scope["user"].get_username() or "nobody")


verifiers = [
    Broken(),
    SignedTokenVerifier(),
    JWTVerifier(JWT_SECRET, algorithms=["HS256"], user_field="username"),
    TicketVerifier(),
]
inner = ProtocolTypeRouter(
    {
        "websocket": TokenAuthMiddleware(Echo.as_asgi(), verifiers),
        "http": URLRouter(
            [
                path("metrics", MetricsApplication(public=True)),  # type: ignore[list-item]
                path("events/", TokenAuthMiddleware(Events.as_asgi(), verifiers)),  # type: ignore[list-item]
            ]
        ),
    }
)


async def application(scope, receive, send):
    asyncio.get_running_loop().set_debug(True)
    await inner(scope, receive, send)

"""A site with health checks, for a real server; the environment says what it depends on."""

import asyncio
import os
import threading
import time

import django
from django.conf import settings
from django.http import HttpRequest, JsonResponse
from django.urls import path

settings.configure(
    SECRET_KEY="not-a-secret",
    ALLOWED_HOSTS=["health.example", "127.0.0.1"],
    ROOT_URLCONF=__name__,
    INSTALLED_APPS=["django.contrib.auth", "django.contrib.contenttypes", "channels"],
    MIDDLEWARE=[
        "django.middleware.common.CommonMiddleware",
        "django.middleware.csrf.CsrfViewMiddleware",
    ],
    DATABASES={
        "default": {"ENGINE": "django.db.backends.sqlite3", "NAME": os.environ["HEALTH_DATABASE"]}
    },
    CHANNEL_LAYERS={
        "default": {"BACKEND": "channels.layers.InMemoryChannelLayer"},
        "redis": {
            "BACKEND": "channels_redis.core.RedisChannelLayer",
            "CONFIG": {"hosts": [os.environ["HEALTH_REDIS"]]},
        },
    },
)
django.setup()

from django.core.asgi import get_asgi_application  # noqa: E402

from channels.contrib.health import (  # noqa: E402
    Health,
    HealthApplication,
    WebSocketProbe,
    live,
    set_ready,
)
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from .site_facts import TIMEOUT  # noqa: E402

may_go = threading.Event()
may_go.set()
calls = {"sync": 0, "async": 0}


def blocking() -> None:
    calls["sync"] += 1
    may_go.wait()


async def waiting() -> None:
    calls["async"] += 1
    while not may_go.is_set():
        await asyncio.sleep(0.01)


async def set_ready_view(request: HttpRequest, value: str) -> JsonResponse:
    set_ready(value == "on")
    return JsonResponse({})


async def hang(request: HttpRequest, value: str) -> JsonResponse:
    may_go.clear() if value == "on" else may_go.set()
    return JsonResponse({})


async def block(request: HttpRequest) -> JsonResponse:
    time.sleep(1.5)
    return JsonResponse({})


async def state(request: HttpRequest) -> JsonResponse:
    return JsonResponse(
        {
            "tasks": len(asyncio.all_tasks()),
            "threads": sum(t.name == "channels-health" for t in threading.enumerate()),
            **calls,
        }
    )


basic = Health(layers=["default"], databases=["default"], timeout=TIMEOUT)
everything = Health(
    databases=["default"], checks={"sync": blocking, "async": waiting}, timeout=TIMEOUT
)

urlpatterns = [
    path("django/healthz", live),
    path("django/readyz", basic.ready),
    path("ready/<value>", set_ready_view),
    path("hang/<value>", hang),
    path("block", block),
    path("state", state),
]

site = ProtocolTypeRouter(
    {
        "http": get_asgi_application(),
        "websocket": AllowedHostsOriginValidator(
            URLRouter([path("ws/health/", WebSocketProbe(lifetime=1.0))])
        ),
    }
)
application = HealthApplication(
    HealthApplication(site, everything, live_path="/all/live", ready_path="/all/ready"), basic
)

import os

from django.core.asgi import get_asgi_application
from django.urls import path, re_path

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
django_application = get_asgi_application()

from channels.contrib.health import Health, HealthApplication, WebSocketProbe  # noqa: E402
from channels.lifespan import Lifespan  # noqa: E402
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402

from .consumers import Ear, Events, Thumbnails, record  # noqa: E402


async def stopped():
    record(event="stopped")


websockets = URLRouter([path("ws/", Ear.as_asgi()), path("ws/health/", WebSocketProbe())])

application = ProtocolTypeRouter(
    {
        "lifespan": Lifespan(on_shutdown=[stopped]),
        "http": URLRouter(
            [
                path("events/", Events.as_asgi()),
                re_path("", HealthApplication(django_application, Health())),
            ]
        ),
        "websocket": AllowedHostsOriginValidator(websockets),
        "channel": ChannelNameRouter({"thumbnails": Thumbnails.as_asgi()}),
    }
)

"""What the server runs: Django for HTTP, consumers for WebSocket, and workers for the rest."""

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
# First of all: this loads the apps, and consumers import models. As a route it needs the cast.
django_asgi_app = cast(Any, get_asgi_application())

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.contrib.admin import live_route  # noqa: E402
from channels.fallback import EventStreamFallback  # noqa: E402
from channels.lifespan import Lifespan  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import re_path  # noqa: E402

import chat.routing  # noqa: E402
import dashboard.routing  # noqa: E402
import devices.routing  # noqa: E402
import editor.routing  # noqa: E402
import feed.routing  # noqa: E402
import game.routing  # noqa: E402
import images.routing  # noqa: E402
import notifications.routing  # noqa: E402
import orders.routing  # noqa: E402
from mysite import workers  # noqa: E402

websocket = AllowedHostsOriginValidator(
    AuthMiddlewareStack(
        URLRouter(
            [
                *chat.routing.websocket_urlpatterns,
                *editor.routing.websocket_urlpatterns,
                *game.routing.websocket_urlpatterns,
                *feed.routing.websocket_urlpatterns,
                *orders.routing.websocket_urlpatterns,
                *images.routing.websocket_urlpatterns,
                *dashboard.routing.websocket_urlpatterns,
                *devices.routing.websocket_urlpatterns,
                live_route(),
            ]
        )
    )
)

# Streams are consumers, and everything else is Django's.
http = URLRouter([*notifications.routing.http_urlpatterns, re_path("", django_asgi_app)])

application = ProtocolTypeRouter(
    {
        # Clients whose WebSockets are blocked come as POST requests: see channels.fallback.
        "http": EventStreamFallback(websocket, http),
        "websocket": websocket,
        "channel": workers.application,
        "lifespan": Lifespan(on_startup=[workers.inside.start], on_shutdown=[workers.inside.stop]),
    }
)

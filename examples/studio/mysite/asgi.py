"""What the server runs: Django for HTTP, and one consumer for the progress of pictures."""

import os
from typing import Any, cast

from django.core.asgi import get_asgi_application

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")
# First of all: this loads the apps, and consumers import models. As a route it needs the cast.
django_asgi_app = cast(Any, get_asgi_application())

from channels.auth import AuthMiddlewareStack  # noqa: E402
from channels.db import database_sync_to_async  # noqa: E402
from channels.fallback import EventStreamFallback  # noqa: E402
from channels.lifespan import Lifespan  # noqa: E402
from channels.routing import ProtocolTypeRouter, URLRouter  # noqa: E402
from channels.security.websocket import AllowedHostsOriginValidator  # noqa: E402
from django.urls import path  # noqa: E402

from studio.consumers import OrdersConsumer  # noqa: E402
from studio.orders import send_what_is_lost  # noqa: E402

websocket = AllowedHostsOriginValidator(
    AuthMiddlewareStack(URLRouter([path("ws/progress/", OrdersConsumer.as_asgi())]))
)

application = ProtocolTypeRouter(
    {
        # Clients whose WebSockets are blocked come as POST requests: see channels.fallback.
        "http": EventStreamFallback(websocket, django_asgi_app),
        "websocket": websocket,
        # Tasks that were in the memory of a server have gone with it.
        "lifespan": Lifespan(on_startup=[database_sync_to_async(send_what_is_lost)]),
    }
)

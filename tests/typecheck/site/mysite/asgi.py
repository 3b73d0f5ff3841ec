"""The canonical ``asgi.py``, and what else can be put together."""

import os

from chat.consumers import Jobs, Plain
from chat.routing import http_urlpatterns, websocket_urlpatterns
from django.core.asgi import get_asgi_application
from django.urls import path

from channels.auth import AuthMiddlewareStack
from channels.middleware import BaseMiddleware
from channels.routing import ChannelNameRouter, ProtocolTypeRouter, URLRouter
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator
from channels.sessions import SessionMiddlewareStack

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "mysite.settings")

django_asgi_app = get_asgi_application()

application = ProtocolTypeRouter(
    {
        "http": django_asgi_app,
        "websocket": AllowedHostsOriginValidator(
            AuthMiddlewareStack(URLRouter(websocket_urlpatterns))
        ),
        "channel": ChannelNameRouter({"jobs": Jobs.as_asgi()}),
    }
)

inline = ProtocolTypeRouter({"http": get_asgi_application()})

nested = ProtocolTypeRouter(
    {
        "http": URLRouter([*http_urlpatterns]),
        "websocket": OriginValidator(
            URLRouter(
                [
                    path("ws/", Plain.as_asgi()),
                    path("session/", SessionMiddlewareStack(Plain.as_asgi(greeting="hello"))),
                    path("user/", AuthMiddlewareStack(Plain.as_asgi()), name="user"),
                    path("rooms/", URLRouter(websocket_urlpatterns)),
                    path("own/", BaseMiddleware(Plain.as_asgi())),
                ]
            ),
            ["https://example.com"],
        ),
    }
)

consumer_class: type[Plain] = Plain.as_asgi().consumer_class

"""Which consumer serves which URL. Like WebSockets, this stream of HTTP needs session and user."""

from channels.auth import AuthMiddlewareStack
from django.urls import path

from .consumers import NotificationStream

http_urlpatterns = [
    path(
        "notifications/stream/",
        AuthMiddlewareStack(NotificationStream.as_asgi()),
        name="notification-stream",
    ),
]

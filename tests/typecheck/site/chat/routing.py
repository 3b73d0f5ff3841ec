"""Routes, as the tutorial writes them."""

from django.urls import path, re_path

from . import consumers

websocket_urlpatterns = [
    path("ws/", consumers.Chat.as_asgi()),
    re_path(r"^ws/chat/(?P<room>\w+)/$", consumers.Chat.as_asgi()),
    path("sync/", consumers.SyncChat.as_asgi()),
    path("plain/", consumers.Plain.as_asgi()),
]

http_urlpatterns = [path("events/", consumers.Events.as_asgi())]

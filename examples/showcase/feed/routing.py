"""Which consumer serves which URL."""

from django.urls import path

from .consumers import WatcherConsumer

websocket_urlpatterns = [path("ws/feed/", WatcherConsumer.as_asgi(), name="feed-socket")]

"""Which consumer serves which WebSocket URL."""

from django.urls import path

from .consumers import ChatConsumer

websocket_urlpatterns = [path("ws/rooms/<int:pk>/", ChatConsumer.as_asgi(), name="room-socket")]

"""Which consumer serves which URL."""

from django.urls import path

from .consumers import EditorConsumer

websocket_urlpatterns = [
    path("ws/editor/<int:pk>/", EditorConsumer.as_asgi(), name="editor-socket")
]

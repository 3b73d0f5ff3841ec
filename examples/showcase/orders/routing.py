"""Which consumer serves which URL."""

from typing import Any

websocket_urlpatterns: list[Any] = []

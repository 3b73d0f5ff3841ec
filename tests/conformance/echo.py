"""What the Autobahn suite talks to: an echo, as a consumer, and without Channels to compare.

What fails with both is the server's.
"""

import os
from typing import Any

import django

os.environ.setdefault("DJANGO_SETTINGS_MODULE", "tests.settings")
django.setup()

from channels.generic.websocket import AsyncWebsocketConsumer  # noqa: E402
from channels.lifespan import Lifespan  # noqa: E402
from channels.routing import ProtocolTypeRouter  # noqa: E402

__all__ = ["bare", "consumer"]


class Echo(AsyncWebsocketConsumer):
    """Sends every message back, text as text, and bytes as bytes."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await self.send(text_data, bytes_data)


consumer = ProtocolTypeRouter({"lifespan": Lifespan(), "websocket": Echo.as_asgi()})


async def bare(scope: dict[str, Any], receive: Any, send: Any) -> None:
    """The same echo with nothing between it and the server."""
    if scope["type"] != "websocket":
        raise NotImplementedError(scope["type"])
    await receive()
    await send({"type": "websocket.accept"})
    while (message := await receive())["type"] == "websocket.receive":
        data = message.get("bytes")
        answer = {"text": message["text"]} if data is None else {"bytes": data}
        await send({"type": "websocket.send", **answer})

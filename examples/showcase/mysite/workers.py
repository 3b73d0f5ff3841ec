"""Work that belongs to no connection: consumers that are fed from named channels.

With one server process they run inside it. Where several processes share a Redis, run them once:
``manage.py runworker game feed images devices``.
"""

import asyncio
from typing import Any

from channels.layers import get_channel_layer
from channels.routing import ChannelNameRouter
from channels.worker import Worker
from django.conf import settings

from devices.consumers import BridgeConsumer
from feed.consumers import FeedConsumer
from game.consumers import GameConsumer
from images.consumers import PainterConsumer

#: The consumers, by their channels. Apps add theirs here.
CONSUMERS: dict[str, Any] = {
    "devices": BridgeConsumer.as_asgi(),
    "feed": FeedConsumer.as_asgi(),
    "game": GameConsumer.as_asgi(),
    "images": PainterConsumer.as_asgi(),
}

application = ChannelNameRouter(CONSUMERS)


class Inside:
    """Runs the workers inside a server process, if it is the only one."""

    async def start(self) -> None:
        """Begin."""
        if settings.WORKERS_INSIDE and CONSUMERS:
            self.worker = Worker(application, list(CONSUMERS), get_channel_layer())
            self.running = asyncio.create_task(self.worker.handle())

    async def stop(self) -> None:
        """Let them finish what they have begun."""
        if hasattr(self, "worker"):
            self.worker.stop()
            await self.running


inside = Inside()

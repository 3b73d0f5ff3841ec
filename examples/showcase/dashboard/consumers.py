"""The WebSocket of a dashboard."""

import asyncio
from typing import Any

from channels.close_codes import CloseCode
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from showcase.sessions import group_of

from .metrics import metrics

#: Seconds between two snapshots.
INTERVAL = 1.0


class DashboardConsumer(AsyncJsonWebsocketConsumer):
    """One page that shows the numbers of the process that serves it.

    The page sends ``look`` and ``rest``. It receives a ``snapshot`` every second while it looks.
    """

    ticking: asyncio.Task[None] | None = None

    async def connect(self) -> None:
        await self.accept()
        user = self.scope["user"]
        if not user.is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
        elif not user.is_staff:
            await self.close(CloseCode.FORBIDDEN, "The dashboard is for staff only.")
        else:
            session = group_of(self.scope["session"].session_key)
            await self.channel_layer.group_add(session, self.channel_name)
            self.look()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "look"}:
                self.look()
            case {"type": "rest"}:
                self.rest()
            case _:
                text = "The server does not understand this page. Reload it."
                await self.send_json({"type": "error", "text": text})

    def look(self) -> None:
        """Begin to send, unless that goes on already."""
        if self.ticking is None:
            self.ticking = self.start_background_task(self.tick)

    def rest(self) -> None:
        """Send no more."""
        if self.ticking is not None:
            self.ticking.cancel()
            self.ticking = None

    async def tick(self) -> None:
        """Send the numbers, again and again."""
        while True:
            await self.send_json(metrics.snapshot())
            await asyncio.sleep(INTERVAL)

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, because the session has ended."""
        await self.close(CloseCode.UNAUTHORIZED)

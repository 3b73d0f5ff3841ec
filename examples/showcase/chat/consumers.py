"""What happens on the WebSocket of a room's page."""

from typing import Any

from channels.generic.websocket import AsyncJsonWebsocketConsumer

from .forms import MessageForm
from .models import Message, Room

# Close codes from 4000 to 4999 belong to the application; room.js knows these two.
SIGN_IN_FIRST = 4401
NO_SUCH_ROOM = 4404


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room.

    The page sends ``{"text": ...}``. It receives events: ``history`` once, then ``message``,
    ``joined``, ``left``, and ``error`` when what it sent cannot be accepted.
    """

    group = ""

    async def connect(self) -> None:
        # Browsers hide why a handshake failed: accept, then close with a code the page can read.
        await self.accept()
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(SIGN_IN_FIRST)
            return
        room = await Room.objects.filter(pk=self.scope["url_route"]["kwargs"]["pk"]).afirst()
        if room is None:
            await self.close(NO_SUCH_ROOM)
            return
        self.room = room
        # Join first, read the history second: then no message falls between the two. One that is
        # in both has the same id, and the page shows it once.
        self.group = f"room.{self.room.pk}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        history = [message.as_event() for message in await self.room.history()]
        await self.send_json({"type": "history", "messages": history})
        await self.tell_room({"type": "joined", "user": self.user.get_username()})

    async def disconnect(self, code: int) -> None:
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)
            await self.tell_room({"type": "left", "user": self.user.get_username()})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        form = MessageForm(content if isinstance(content, dict) else {})
        if not form.is_valid():
            await self.send_json({"type": "error", "text": form.errors["text"][0]})
            return
        message = await Message.objects.acreate(
            room=self.room, author=self.user, text=form.cleaned_data["text"]
        )
        await self.tell_room(message.as_event())

    async def tell_room(self, event: dict[str, Any]) -> None:
        """Send ``event`` to everybody in this room."""
        await self.channel_layer.group_send(self.group, {"type": "room.event", "event": event})

    async def room_event(self, message: dict[str, Any]) -> None:
        """Pass on to the page what somebody told the room."""
        await self.send_json(message["event"])

"""What happens on the WebSocket of a room's page."""

from typing import Any

from channels.close_codes import CloseCode
from channels.generic.websocket import AsyncJsonWebsocketConsumer

from showcase.sessions import group_of

from .forms import MessageForm
from .models import Message, Room


class ChatConsumer(AsyncJsonWebsocketConsumer):
    """One person in one room.

    The page sends ``say`` with ``key`` and ``text``, ``typing``, and ``read`` with the ``id`` of a
    message. It receives ``history``, then ``message``, ``typing``, ``read``, ``joined``, ``left``;
    ``refused`` for something said that cannot be accepted, and ``error`` for anything else.
    """

    group = ""

    async def connect(self) -> None:
        # Browsers hide why a handshake failed: accept, then close with a code the page can read.
        await self.accept()
        self.user = self.scope["user"]
        if not self.user.is_authenticated:
            await self.close(CloseCode.UNAUTHORIZED)
            return
        room = await Room.objects.filter(pk=self.scope["url_route"]["kwargs"]["pk"]).afirst()
        if room is None:
            await self.close(CloseCode.NOT_FOUND, "There is no such room.")
            return
        self.room = room
        self.name = self.user.get_username()
        session = group_of(self.scope["session"].session_key)
        await self.channel_layer.group_add(session, self.channel_name)
        # Join first, read the history second: then no message falls between the two. One that is
        # in both has the same id, and the page shows it once.
        self.group = f"room.{room.pk}"
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.send_history()
        await self.tell_room({"type": "joined", "user": self.name})

    async def disconnect(self, code: int) -> None:
        if self.group:
            await self.channel_layer.group_discard(self.group, self.channel_name)
            await self.tell_room({"type": "left", "user": self.name})

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        match content:
            case {"type": "say"}:
                await self.say(content)
            case {"type": "typing"}:
                await self.tell_room({"type": "typing", "user": self.name})
            case {"type": "read", "id": int(message_pk)}:
                if await self.room.mark_read(self.user, message_pk):
                    await self.tell_room({"type": "read", "user": self.name, "id": message_pk})
            case _:
                text = "The server does not understand this page. Reload it."
                await self.send_json({"type": "error", "text": text})

    async def say(self, content: dict[str, Any]) -> None:
        """Save a message and tell the room, or tell the page why not."""
        form = MessageForm(content)
        if not form.is_valid():
            reason = next(iter(form.errors.values()))[0]
            await self.send_json({"type": "refused", "key": content.get("key"), "text": reason})
            return
        message, is_new = await Message.objects.select_related("author").aget_or_create(
            room=self.room,
            author=self.user,
            key=form.cleaned_data["key"],
            defaults={"text": form.cleaned_data["text"]},
        )
        if is_new:
            await self.tell_room(message.as_event())
        else:
            await self.send_json(message.as_event())

    async def send_history(self) -> None:
        """Send the page all that it shows."""
        messages = [message.as_event() for message in await self.room.history()]
        read = await self.room.read_marks()
        await self.send_json({"type": "history", "messages": messages, "read": read})

    async def tell_room(self, event: dict[str, Any]) -> None:
        """Send ``event`` to everybody in this room."""
        await self.channel_layer.group_send(self.group, {"type": "room.event", "event": event})

    async def room_event(self, message: dict[str, Any]) -> None:
        """Pass on to the page what somebody told the room."""
        await self.send_json(message["event"])

    async def layer_gap(self, message: dict[str, Any]) -> None:
        """Begin anew, because messages of the channel layer were lost on their way here."""
        await self.send_history()

    async def signed_out(self, message: dict[str, Any]) -> None:
        """End, because the session has ended."""
        await self.close(CloseCode.UNAUTHORIZED)

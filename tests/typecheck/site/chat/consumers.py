"""Consumers as projects write them, in every style that the documentation shows."""

import asyncio
from concurrent.futures import Future
from dataclasses import dataclass
from typing import Any

from asgiref.sync import async_to_sync
from django.contrib.auth.models import User

from channels.auth import get_user, login, logout
from channels.consumer import AsyncConsumer, SyncConsumer
from channels.db import database_sync_to_async
from channels.exceptions import ChannelFull, StopConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)
from channels.layers import (
    ChannelLayer,
    get_channel_layer,
    get_sync_channel_layer,
    group_send_on_commit,
)
from channels.messages import Declaration, accepts
from channels.security.permissions import HasPermission, IsAuthenticated, IsStaff, Permission


class Chat(AsyncJsonWebsocketConsumer):
    """The tutorial's, with a user and the database."""

    async def connect(self) -> None:
        self.user = self.scope["user"]
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept(subprotocol="chat", headers=[(b"x-chat", b"1")])

    async def disconnect(self, close_code: int) -> None:
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content: Any) -> None:
        name = (await get_user(self.scope)).username
        line = {"type": "chat.line", "author": name, "text": content["text"]}
        await self.channel_layer.group_send(self.group, line)
        count: int = await self.count_users(active=True)
        names: list[str] = await self.names()
        user: User = await fetch(1)
        await self.send_json({"count": count, "names": names, "user": user.get_username()})

    async def chat_line(self, event: dict[str, Any]) -> None:
        await self.send_json({"author": event["author"], "text": event["text"]})

    async def layer_gap(self, event: dict[str, Any]) -> None:
        await self.close(code=4000, reason=event["reason"])

    @database_sync_to_async
    def count_users(self, active: bool) -> int:
        return User.objects.filter(is_active=active).count()

    async def names(self) -> list[str]:
        return await database_sync_to_async(self._names, thread_sensitive=True)()

    def _names(self) -> list[str]:
        return [user.username for user in User.objects.all()]


@database_sync_to_async
def fetch(pk: int) -> User:
    return User.objects.get(pk=pk)


class Plain(AsyncWebsocketConsumer):
    """Takes text only, and names its parameters as it likes."""

    groups = ["everybody"]

    def __init__(self, greeting: str = "", **kwargs: Any) -> None:
        super().__init__(**kwargs)
        self.greeting = greeting

    async def websocket_connect(self, event: Any) -> None:
        await super().websocket_connect(event)

    async def receive(self, text_data: str) -> None:
        await self.send(text_data=self.greeting + text_data)
        await self.send(bytes_data=b"", close=True)

    async def disconnect(self, code: int) -> None:
        await super().disconnect(code)
        raise StopConsumer


class Binary(AsyncWebsocketConsumer):
    """Takes bytes only."""

    async def receive(self, bytes_data: bytes) -> None:
        await self.send(bytes_data=bytes_data)


class Both(AsyncWebsocketConsumer):
    """Has the parameters of the class."""

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        await super().receive(text_data=text_data, bytes_data=bytes_data)

    async def disconnect(self, code: int) -> None:
        await login(self.scope, await get_user(self.scope))
        await logout(self.scope)


class SyncChat(JsonWebsocketConsumer):
    """The tutorial's, in the synchronous style."""

    def connect(self) -> None:
        self.group = "chat_" + self.scope["url_route"]["kwargs"]["room"]
        async_to_sync(self.channel_layer.group_add)(self.group, self.channel_name)
        self.accept()

    def disconnect(self, close_code: int) -> None:
        async_to_sync(self.channel_layer.group_discard)(self.group, self.channel_name)

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        try:
            async_to_sync(self.channel_layer.group_send)(self.group, {"type": "chat.line"})
        except ChannelFull:
            self.close(code=1013)
        self.send_json(content, close=False)

    def chat_line(self, event: dict[str, Any]) -> None:
        self.send_json(event)


class SyncText(WebsocketConsumer):
    """Takes text only."""

    def receive(self, text_data: str) -> None:
        self.send(text_data=text_data)


class Events(AsyncHttpConsumer):
    """Server-sent events."""

    async def handle(self, body: bytes) -> None:
        await self.send_headers(headers=[(b"content-type", b"text/event-stream")])
        await self.send_body(b"data: 1\n\n", more_body=True)
        await self.send_response(200, body, headers=[(b"x", b"y")])


class Ticker(AsyncWebsocketConsumer):
    """Has a background task."""

    max_background_tasks = 1
    background_grace = 1

    async def connect(self) -> None:
        await self.accept()
        self.ticking: asyncio.Task[int] = self.start_background_task(self.tick, 3, pause=0.5)
        self.start_background_task(self.close)
        self.start_background_task(self.look_up, "a")

    async def tick(self, times: int, *, pause: float = 1) -> int:
        await asyncio.sleep(pause)
        return times

    async def receive(self, text_data: str) -> None:
        self.ticking.cancel()
        await self.send(str(await self.ticking))

    @database_sync_to_async
    def look_up(self, name: str) -> int:
        return User.objects.filter(username=name).count()


class SyncTicker(WebsocketConsumer):
    """The same, in the synchronous style."""

    def connect(self) -> None:
        self.accept()
        self.ticking: Future[int] = self.start_background_task(self.tick, 3, pause=0.5)

    def tick(self, times: int, *, pause: float = 1) -> int:
        while not self.background_stopping.wait(pause):
            self.send("tick")
        return times

    def receive(self, text_data: str) -> None:
        self.send(str(self.ticking.result()))


class Jobs(AsyncConsumer):
    """A worker's."""

    async def resize(self, message: dict[str, Any]) -> None:
        await self.channel_layer.send("results", {"type": "resized"})


class SyncJobs(SyncConsumer):
    """A worker's, in the synchronous style."""

    def resize(self, message: dict[str, Any]) -> None:
        get_sync_channel_layer().send("results", {"type": "resized"})


class OwnLayer:
    """A layer of others, without a base class."""

    extensions: list[str] = ["groups", "flush"]

    async def send(self, channel: str, message: dict[str, Any]) -> None: ...
    async def receive(self, channel: str) -> dict[str, Any]:
        return {}

    async def new_channel(self, prefix: str = "own") -> str:
        return f"{prefix}!1"

    async def flush(self) -> None: ...
    async def group_add(self, group: str, channel: str) -> None: ...
    async def group_discard(self, group: str, channel: str) -> None: ...
    async def group_send(self, group: str, message: dict[str, Any]) -> None: ...


layer: ChannelLayer = OwnLayer()


def a_view() -> None:
    """Outside of consumers: the layer needs no check for None."""
    channel_layer = get_channel_layer()
    async_to_sync(channel_layer.group_send)("chat", {"type": "chat.line"})
    message: dict[str, Any] = async_to_sync(channel_layer.receive)("chat")
    group_send_on_commit("chat", message)


async def an_async_view() -> None:
    """The same where an event loop runs."""
    channel_layer = get_channel_layer("default")
    name: str = await channel_layer.new_channel()
    await channel_layer.send(name, {"type": "chat.line"})
    await channel_layer.set_state("jobs", "import", {"percent": 40}, expiry=60, revision=1)
    state: dict[str, Any] | None = await channel_layer.get_state("jobs", "import")
    await channel_layer.send_later(name, state or {}, delay=5)
    if "groups" in channel_layer.extensions:
        await channel_layer.flush()


@dataclass
class Say:
    text: str


class InTheRoom(Permission):
    async def has_permission(self, scope: Any, message_type: str | None = None) -> bool:
        return bool(scope["room"])


class Declaring(AsyncJsonWebsocketConsumer):
    permissions = IsAuthenticated() & (IsStaff() | ~HasPermission("chat.add_room"))

    @accepts("chat.say", permissions=InTheRoom)
    async def say(self, message: Say) -> None:
        await self.send_json({"said": message.text.upper()})


class SyncDeclaring(JsonWebsocketConsumer):
    permissions = IsAuthenticated

    @accepts("chat.say", Say)
    def say(self, message: Say) -> None:
        self.send_json({"said": message.text})


DECLARED: tuple[Declaration, ...] = Declaring.message_types()

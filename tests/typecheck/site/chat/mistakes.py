"""Mistakes. Type checkers have to report those in lines that say so, and no others."""

from typing import Any

from asgiref.sync import async_to_sync

from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer, get_sync_channel_layer
from channels.routing import ProtocolTypeRouter, URLRouter


@database_sync_to_async
def count_lines(author: str) -> int:
    return len(author)


class Chat(AsyncWebsocketConsumer):
    @database_sync_to_async
    def save(self, text: str) -> int:
        return len(text)

    async def connect(self) -> None:
        await self.channel_layer.grop_add("chat", self.channel_name)  # error
        self.channel_layer.group_add("chat", self.channel_name)  # error
        await self.channel_layer.group_add("chat")  # error
        await self.channel_layer.group_send("chat", "text")  # error
        await self.channel_layer.send(1, {"type": "t"})  # error
        self.accept()  # error
        await self.accept(protocol="chat")  # error

    async def disconnect(self) -> None:  # error
        pass

    async def receive(self, text_data: str) -> None:
        await self.send(text=text_data)  # error
        await self.send_json({})  # error
        await self.save(1)  # error
        await self.save()  # error
        self.save(text_data)  # error
        self.name: str = await self.save(text_data)  # error
        await count_lines(author=1)  # error
        await self.close(reason=1)  # error
        self.start_background_task(self.tick, "x")  # error
        self.start_background_task(self.tick, 1, seconds=1)  # error
        self.start_background_task(self.tick(1))  # error
        self.start_background_task(len, "x")  # error
        self.text: str = await self.start_background_task(self.tick, 1)  # error

    async def tick(self, times: int) -> int:
        return times


class SyncChat(WebsocketConsumer):
    def connect(self) -> None:
        self.channel_layer.group_add("chat", self.channel_name)  # error
        async_to_sync(self.channel_layer.group_add)("chat")  # error
        self.start_background_task(self.tick, "x")  # error
        self.background_stopping.wait("x")  # error

    def tick(self, times: int) -> int:
        return times

    def disconnect(self, code: str) -> None:  # error
        pass


async def a_view() -> str:
    channel_layer = get_channel_layer()
    await channel_layer.group_snd("chat", {})  # error
    channel_layer.send("channel", {})  # error
    return await channel_layer.receive("channel")  # error


def a_sync_view(event: dict[str, Any]) -> None:
    get_sync_channel_layer().group_send("chat")  # error
    get_sync_channel_layer().group_sned("chat", event)  # error


router = ProtocolTypeRouter({"websocket": Chat})  # error
routes = URLRouter([Chat.as_asgi()])  # error

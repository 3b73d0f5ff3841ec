from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncJsonWebsocketConsumer
from django.contrib.auth.models import User


class ChatConsumer(AsyncJsonWebsocketConsumer):
    async def connect(self):
        self.user = self.scope["user"]
        if self.user.is_anonymous:
            await self.close()
            return
        self.group = "json_async_" + self.scope["url_route"]["kwargs"]["room_name"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        await self.send_json({"type": "welcome", "users": await self.count_users()})

    async def disconnect(self, close_code):
        if self.user.is_authenticated:
            await self.channel_layer.group_discard(self.group, self.channel_name)

    async def receive_json(self, content):
        await self.channel_layer.group_send(
            self.group,
            {
                "type": "chat.message",
                "message": content["message"],
                "username": self.user.username,
                "sender": self.channel_name,
            },
        )

    async def chat_message(self, event):
        await self.send_json(
            {
                "message": event["message"],
                "username": event["username"],
                "own": event["sender"] == self.channel_name,
            }
        )

    @database_sync_to_async
    def count_users(self):
        return User.objects.count()

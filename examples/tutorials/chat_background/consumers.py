import asyncio
import json

from channels.generic.websocket import AsyncWebsocketConsumer


class ChatConsumer(AsyncWebsocketConsumer):
    clocks = 0  # How many clocks run in this process.

    async def connect(self):
        self.group = "background_" + self.scope["url_route"]["kwargs"]["room_name"]
        await self.channel_layer.group_add(self.group, self.channel_name)
        await self.accept()
        self.clock = asyncio.create_task(self.run_clock())

    async def disconnect(self, close_code):
        self.clock.cancel()
        await self.channel_layer.group_discard(self.group, self.channel_name)

    async def run_clock(self):
        ChatConsumer.clocks += 1
        try:
            while True:
                await self.send(text_data=json.dumps({"clocks": ChatConsumer.clocks}))
                await asyncio.sleep(0.05)
        finally:
            ChatConsumer.clocks -= 1

    async def receive(self, text_data=None, bytes_data=None):
        message = json.loads(text_data)["message"]
        await self.channel_layer.group_send(
            self.group, {"type": "chat.message", "message": message}
        )

    async def chat_message(self, event):
        await self.send(text_data=json.dumps({"message": event["message"]}))

"""A program whose event loop ends while a consumer is connected. How is an argument."""

import asyncio
import gc
import sys

import django
from django.conf import settings

if not settings.configured:
    BACKEND, PORT, END = sys.argv[1:]
    settings.configure(
        INSTALLED_APPS=["channels"],
        CHANNEL_LAYERS={"default": {"BACKEND": BACKEND, "CONFIG": {"hosts": [("127.0.0.1", PORT)]}}}
        if PORT != "none"
        else {"default": {"BACKEND": BACKEND}},
    )
    django.setup(set_prefix=False)

from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import get_channel_layer
from channels.testing import WebsocketCommunicator


class Consumer(AsyncWebsocketConsumer):
    groups = ["room"]

    async def receive(self, text_data=None, bytes_data=None):
        await asyncio.Queue().get()

    async def disconnect(self, code):
        await self.channel_layer.group_send("room", {"type": "left"})
        sys.stdout.write("left\n")


class SyncConsumer(WebsocketConsumer):
    groups = ["room"]


async def main():
    communicators = []
    for consumer in (Consumer, SyncConsumer):
        communicators.append(WebsocketCommunicator(consumer.as_asgi(), "/ws/"))
        await communicators[-1].connect(timeout=20)
    await communicators[0].send_to(text_data="wait")
    await get_channel_layer().group_send("other", {"type": "x"})
    await asyncio.sleep(0)
    return communicators


if END == "run":
    asyncio.run(main())
else:
    loop = asyncio.new_event_loop()
    communicators = loop.run_until_complete(main())
    if END == "close":  # as pytest-asyncio 0.24 does, after one test, and then comes another
        loop.close()
        del communicators
        gc.collect()
        asyncio.run(get_channel_layer().group_send("other", {"type": "x"}))
        gc.collect()
sys.stdout.write("end\n")

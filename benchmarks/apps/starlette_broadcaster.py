"""The chat in Starlette over Redis, as the documentation of broadcaster has it."""

import asyncio
import json
import os
from contextlib import asynccontextmanager

from broadcaster import Broadcast
from starlette.applications import Starlette
from starlette.routing import WebSocketRoute

broadcast = Broadcast(os.environ["BENCHMARK_REDIS"])


@asynccontextmanager
async def lifespan(application):
    async with broadcast:
        yield


async def relay(websocket, subscriber):
    async for event in subscriber:
        await websocket.send_text(event.message)


async def chat(websocket):
    room = websocket.path_params["room"]
    async with broadcast.subscribe(room) as subscriber:
        await websocket.accept()
        relaying = asyncio.create_task(relay(websocket, subscriber))
        try:
            async for text in websocket.iter_text():
                message = json.dumps({"text": json.loads(text)["text"]})
                await broadcast.publish(room, message)
        finally:
            relaying.cancel()


application = Starlette(routes=[WebSocketRoute("/chat/{room}/", chat)], lifespan=lifespan)

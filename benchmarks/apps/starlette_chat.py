"""The same chat in Starlette, as its users write it: rooms are sets, no origin check, no users."""

import json
import time
from collections import defaultdict

from starlette.applications import Starlette
from starlette.concurrency import run_in_threadpool
from starlette.routing import WebSocketRoute
from starlette.websockets import WebSocket

rooms: defaultdict[str, set[WebSocket]] = defaultdict(set)


async def echo(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await websocket.send_text(text)


async def blocking(websocket):
    await websocket.accept()
    async for text in websocket.iter_text():
        await run_in_threadpool(time.sleep, 0.05)
        await websocket.send_text(text)


async def chat(websocket):
    room = rooms[websocket.path_params["room"]]
    room.add(websocket)
    await websocket.accept()
    try:
        async for text in websocket.iter_text():
            reply = json.dumps({"text": json.loads(text)["text"]})
            for member in tuple(room):
                await member.send_text(reply)
    finally:
        room.discard(websocket)


application = Starlette(
    routes=[
        WebSocketRoute("/echo/", echo),
        WebSocketRoute("/blocking/", blocking),
        WebSocketRoute("/chat/{room}/", chat),
    ]
)

"""Consumers that pass on what a group is told, and write down how each connection ended."""

import asyncio
import json
import os
from typing import Any

from channels.consumer import AsyncConsumer
from channels.generic.http import AsyncHttpConsumer
from channels.generic.websocket import AsyncJsonWebsocketConsumer

GROUP = "everybody"


def record(**event: Any) -> None:
    """Add a line to the file ``RECORD``, in one write."""
    line = json.dumps({"pid": os.getpid(), **event}).encode() + b"\n"
    file = os.open(os.environ["RECORD"], os.O_WRONLY | os.O_CREAT | os.O_APPEND, mode=0o600)
    try:
        os.write(file, line)
    finally:
        os.close(file)


class Ear(AsyncJsonWebsocketConsumer):
    """Is told what the group is told; says first who serves it, and what it knows of the client."""

    groups = [GROUP]

    async def connect(self) -> None:
        record(event="connect", channel=self.channel_name)
        await self.accept()
        await self.send_json(
            {
                "pid": os.getpid(),
                "client": self.scope["client"][0] if self.scope.get("client") else None,
                "scheme": self.scope.get("scheme", "ws"),
                "http_version": self.scope.get("http_version", "1.1"),
            }
        )

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.channel_layer.group_send(GROUP, {"type": "told", "content": content})

    async def told(self, message: dict[str, Any]) -> None:
        await self.send_json(message["content"])

    async def disconnect(self, code: int) -> None:
        await asyncio.sleep(0.05)  # what a real one does here takes time too
        record(event="disconnect", channel=self.channel_name, code=code)


class Events(AsyncHttpConsumer):
    """A stream of server-sent events: one at once, and one for each that the group is told.

    With ``?pour`` there are 64 at once, of 1 MiB each.
    """

    async def handle(self, body: bytes) -> None:
        headers = [(b"content-type", b"text/event-stream"), (b"cache-control", b"no-cache")]
        await self.send_headers(headers=headers)
        if self.scope["query_string"] == b"pour":
            for _ in range(64):
                await self.send_body(b"data: " + b"x" * 2**20 + b"\n\n", more_body=True)
                record(event="poured")
            return
        await self.channel_layer.group_add(GROUP, self.channel_name)
        await self.send_body(b"data: hello\n\n", more_body=True)

    async def told(self, message: dict[str, Any]) -> None:
        data = json.dumps(message["content"])
        await self.send_body(f"data: {data}\n\n".encode(), more_body=True)

    async def disconnect(self) -> None:
        await self.channel_layer.group_discard(GROUP, self.channel_name)


class Thumbnails(AsyncConsumer):
    """A worker: tells the group what it was told."""

    async def make(self, message: dict[str, Any]) -> None:
        await self.channel_layer.group_send(GROUP, {"type": "told", "content": message["name"]})

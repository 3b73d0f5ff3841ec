"""HTTP consumers: an answer, a stream, a long poll, a mistake."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from channels.generic.http import AsyncHttpConsumer

from .recorder import record

__all__ = ["Answer", "Crash", "LongPoll", "Stream", "Upload", "Where"]

PLAIN = [(b"content-type", b"text/plain")]


class Recording(AsyncHttpConsumer):
    @property
    def key(self) -> str:
        return parse_qs(self.scope["query_string"].decode())["key"][0]

    async def http_request(self, message: dict[str, Any]) -> None:
        if not message.get("more_body"):
            record(self.key, "connect")
        await super().http_request(message)

    async def disconnect(self) -> None:
        record(self.key, "disconnect")


class Answer(Recording):
    async def handle(self, body: bytes) -> None:
        await self.send_response(201, body[::-1], headers=PLAIN)


class Stream(Recording):
    """Sends parts until the client leaves, or as many as ``?parts=`` says."""

    async def handle(self, body: bytes) -> None:
        parts = int(parse_qs(self.scope["query_string"].decode()).get("parts", ["0"])[0])
        await self.send_headers(headers=PLAIN)
        number = 0
        while not parts or number < parts:
            number += 1
            await self.send_body(b"part %d\n" % number, more_body=number != parts)
            await asyncio.sleep(0.01)


class LongPoll(Recording):
    """Answers when the channel layer brings something; ``POST`` sends it."""

    async def handle(self, body: bytes) -> None:
        if self.scope["method"] == "POST":
            message = {"type": "poll.news", "text": body.decode()}
            await self.channel_layer.group_send("pollers", message)
            await self.send_response(202, b"")
        else:
            await self.channel_layer.group_add("pollers", self.channel_name)
            await self.send_headers(headers=PLAIN)
            await self.send_body(b"waiting\n", more_body=True)

    async def poll_news(self, message: dict[str, Any]) -> None:
        await self.send_body(message["text"].encode())


class Crash(Recording):
    async def handle(self, body: bytes) -> None:
        raise RuntimeError("in handle")


class Where(Recording):
    """Says where it was called."""

    async def handle(self, body: bytes) -> None:
        scope = self.scope
        answer = {
            "path": scope["path"],
            "root_path": scope.get("root_path", ""),
            "place": scope["url_route"]["kwargs"]["place"],
        }
        await self.send_response(200, json.dumps(answer).encode())


class Upload(AsyncHttpConsumer):
    """Takes a mebibyte."""

    max_body_size = 2**20

    async def handle(self, body: bytes) -> None:
        await self.send_response(200, str(len(body)).encode(), headers=PLAIN)

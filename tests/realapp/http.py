"""HTTP consumers: an answer, a stream, a long poll, a mistake."""

import asyncio
import json
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import async_to_sync

from channels.generic.http import AsyncHttpConsumer
from channels.generic.longpoll import AsyncLongPollConsumer, LongPollConsumer
from channels.generic.sse import AsyncSseConsumer, SseConsumer

from .recorder import record

__all__ = [
    "Answer",
    "AsyncEvents",
    "AsyncPolled",
    "Crash",
    "LongPoll",
    "Stream",
    "SyncEvents",
    "SyncPolled",
    "Tell",
    "Upload",
    "Where",
]

PLAIN = [(b"content-type", b"text/plain")]
POURED = "x" * 2**20
POURS = 64


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
        if "begun" in parse_qs(self.scope["query_string"].decode()):
            await self.send_headers(headers=PLAIN)
            await self.send_body(b"begun", more_body=True)
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


def key_of(scope: dict[str, Any]) -> str:
    return parse_qs(scope["query_string"].decode())["key"][0]


class AsyncEvents(AsyncSseConsumer):
    """Sends as events what is told to the group ``events`` and to its own."""

    send_timeout = 2.0
    groups = ["events"]

    async def connect(self) -> None:
        record(key_of(self.scope), "connect")
        await self.channel_layer.group_add(f"events.{key_of(self.scope)}", self.channel_name)
        await self.accept()
        await self.send_event(f"after {self.last_event_id}", event="hello", id="0")

    async def event_said(self, message: dict[str, Any]) -> None:
        await self.send_json(message["content"], id=message.get("id"))

    async def event_pour(self, message: dict[str, Any]) -> None:
        record(key_of(self.scope), "pouring")
        for _ in range(POURS):
            await self.send_event(POURED)
        record(key_of(self.scope), "poured")

    async def event_over(self, message: dict[str, Any]) -> None:
        await self.close()

    async def event_crash(self, message: dict[str, Any]) -> None:
        raise RuntimeError("in an event")

    async def disconnect(self) -> None:
        record(key_of(self.scope), "disconnect")


class SyncEvents(SseConsumer):
    """The same, in a thread."""

    send_timeout = 2.0
    groups = ["events"]

    def connect(self) -> None:
        record(key_of(self.scope), "connect")
        add = async_to_sync(self.channel_layer.group_add)
        add(f"events.{key_of(self.scope)}", self.channel_name)
        self.accept()
        self.send_event(f"after {self.last_event_id}", event="hello", id="0")

    def event_said(self, message: dict[str, Any]) -> None:
        self.send_json(message["content"], id=message.get("id"))

    def event_pour(self, message: dict[str, Any]) -> None:
        record(key_of(self.scope), "pouring")
        for _ in range(POURS):
            self.send_event(POURED)
        record(key_of(self.scope), "poured")

    def event_over(self, message: dict[str, Any]) -> None:
        self.close()

    def event_crash(self, message: dict[str, Any]) -> None:
        raise RuntimeError("in an event")

    def disconnect(self) -> None:
        record(key_of(self.scope), "disconnect")


class AsyncPolled(AsyncLongPollConsumer):
    """Is polled for what is told to the group ``events``; echoes what it gets."""

    groups = ["events"]
    poll_timeout = 1.0
    session_timeout = 2.0

    async def connect(self) -> None:
        record(key_of(self.scope), "connect")
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json({"echo": content})

    async def event_said(self, message: dict[str, Any]) -> None:
        await self.send_json(message["content"])

    async def disconnect(self, code: int) -> None:
        record(key_of(self.scope), "disconnect", code=code)


class SyncPolled(LongPollConsumer):
    """The same, in a thread."""

    groups = ["events"]
    poll_timeout = 1.0
    session_timeout = 2.0

    def connect(self) -> None:
        record(key_of(self.scope), "connect")
        self.accept()

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json({"echo": content})

    def event_said(self, message: dict[str, Any]) -> None:
        self.send_json(message["content"])

    def disconnect(self, code: int) -> None:
        record(key_of(self.scope), "disconnect", code=code)


class Tell(AsyncHttpConsumer):
    """Sends the body, a message as JSON, to the group that ``?group=`` names."""

    async def handle(self, body: bytes) -> None:
        group = parse_qs(self.scope["query_string"].decode())["group"][0]
        await self.channel_layer.group_send(group, json.loads(body))
        await self.send_response(204, b"")

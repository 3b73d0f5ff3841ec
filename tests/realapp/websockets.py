"""Consumers that do what the client tells them to, so that a test reads as one story.

``?key=`` names the connection in the record of events, ``?connect=`` says what ``connect()``
does. Frames are echoed, except text that starts with ``!``, which is a command: ``!close 4001
because`` calls ``do_close("4001 because")``.
"""

import asyncio
import json
import sys
import time
from collections.abc import Callable
from typing import Any
from urllib.parse import parse_qs

from asgiref.sync import async_to_sync

from channels.exceptions import DenyConnection
from channels.generic.websocket import (
    AsyncJsonWebsocketConsumer,
    AsyncWebsocketConsumer,
    JsonWebsocketConsumer,
    WebsocketConsumer,
)

from .recorder import gates, record

__all__ = ["AsyncActor", "AsyncImpatient", "AsyncJson", "SyncActor", "SyncImpatient", "SyncJson"]

GROUP = "everybody"
HEADERS = [(b"x-greeting", b"hello")]
POURED = b"x" * 2**20
POURS = 64
LINGER = 30.0  # seconds: far longer than any test waits for it


class DeliberateError(Exception):
    """The application's own mistake."""


# What ends a task or a process where nobody catches it.
EXITS: "dict[str, Callable[[], BaseException]]" = {
    "interrupt": KeyboardInterrupt,
    "generator": GeneratorExit,
    "own": type("OwnExit", (BaseException,), {}),
}


async def be_cancelled() -> None:
    """Await a task of one's own that is cancelled."""
    task = asyncio.create_task(asyncio.sleep(LINGER))
    task.cancel()
    await task


class Recording:
    """What sync and async consumers share: who they are, and what is written down."""

    scope: dict[str, Any]
    groups = [GROUP]
    reason: str | None = None

    def asked(self, name: str) -> str:
        query = parse_qs(self.scope["query_string"].decode())
        return query.get(name, [""])[0]

    def record(self, event: str, **details: Any) -> None:
        record(self.asked("key"), event, **details)

    def describe(self) -> str:
        scope = self.scope
        return json.dumps(
            {
                "path": scope["path"],
                "query_string": scope["query_string"].decode(),
                "place": scope["url_route"]["kwargs"].get("place"),
                "user": str(scope.get("user")),
                "cookies": scope.get("cookies"),
                "headers": [
                    [k.decode("latin-1"), v.decode("latin-1")] for k, v in scope["headers"]
                ],
                "state": scope.get("state"),
            }
        )


def command(text: str) -> tuple[str, str]:
    """The name of the method that carries out ``text``, and its argument."""
    word, _, rest = text[1:].partition(" ")
    return f"do_{word}", rest


class AsyncActor(Recording, AsyncWebsocketConsumer):
    async def connect(self) -> None:
        self.record("connect")
        how = self.asked("connect")
        if how == "refuse":
            await self.close()
        elif how == "deny":
            raise DenyConnection
        elif how == "crash":
            raise DeliberateError("in connect")
        elif how == "nothing":
            return
        elif how.startswith("exit "):
            await self.do_exit(how[5:])
        else:
            if how == "linger":
                await self.do_wait("")
            offered = self.scope["subprotocols"]
            await self.accept(subprotocol=offered[-1] if offered else None, headers=HEADERS)

    async def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or not text_data.startswith("!"):
            await self.send(text_data, bytes_data)
        else:
            name, argument = command(text_data)
            await getattr(self, name)(argument)

    async def websocket_disconnect(self, message: dict[str, Any]) -> None:
        self.reason = message.get("reason")
        await super().websocket_disconnect(message)

    async def disconnect(self, code: int) -> None:
        self.record("disconnect", code=code, reason=self.reason)
        if self.asked("disconnect") == "crash":
            raise DeliberateError("in disconnect")
        if self.asked("disconnect").startswith("exit "):
            await self.do_exit(self.asked("disconnect")[5:])

    async def chat_shout(self, message: dict[str, Any]) -> None:
        await self.send(message["text"])

    async def chat_expel(self, message: dict[str, Any]) -> None:
        await self.close(message["code"])

    async def do_describe(self, argument: str) -> None:
        await self.send(self.describe())

    async def do_close(self, argument: str) -> None:
        code, _, reason = argument.partition(" ")
        await self.close(int(code), reason or None)

    async def do_crash(self, argument: str) -> None:
        raise DeliberateError("in receive")

    async def do_exit(self, argument: str) -> None:
        if argument == "exit":
            sys.exit(3)
        if argument == "cancelled":
            await be_cancelled()
        raise EXITS[argument]

    async def do_sleep(self, argument: str) -> None:
        self.record("sleeping")
        await asyncio.sleep(float(argument))
        self.record("slept")

    async def do_answer_after(self, argument: str) -> None:
        await self.do_sleep(argument)
        await self.send("slept")

    async def do_wait(self, argument: str) -> None:
        self.record("waiting")
        while not gates[self.asked("key")].is_set():
            await asyncio.sleep(0.01)
        self.record("waited")

    async def do_pour(self, argument: str) -> None:
        self.record("pouring")
        for _ in range(POURS):
            await self.send(bytes_data=POURED)
        self.record("poured")

    async def do_join(self, argument: str) -> None:
        await self.channel_layer.group_add(argument, self.channel_name)
        await self.send("joined")

    async def do_layer(self, argument: str) -> None:
        await self.channel_layer.send(self.channel_name, json.loads(argument))

    async def do_expel(self, argument: str) -> None:
        message = {"type": "chat.expel", "code": int(argument)}
        await self.channel_layer.group_send(GROUP, message)

    async def do_work(self, argument: str) -> None:
        """Start a background task, which goes on until the end, or crashes."""
        self.start_background_task(self.work, argument)

    async def work(self, argument: str) -> None:
        self.record("working")
        await self.send("working")
        try:
            if argument == "crash":
                raise DeliberateError("in the background")
            await asyncio.sleep(LINGER)
        finally:
            await asyncio.sleep(0)
            self.record("worked")

    async def do_shout(self, argument: str) -> None:
        await self.channel_layer.group_send(GROUP, {"type": "chat.shout", "text": argument})


class SyncActor(Recording, WebsocketConsumer):
    def connect(self) -> None:
        self.record("connect")
        how = self.asked("connect")
        if how == "refuse":
            self.close()
        elif how == "deny":
            raise DenyConnection
        elif how == "crash":
            raise DeliberateError("in connect")
        elif how == "nothing":
            return
        elif how.startswith("exit "):
            self.do_exit(how[5:])
        else:
            if how == "linger":
                self.do_wait("")
            offered = self.scope["subprotocols"]
            self.accept(subprotocol=offered[-1] if offered else None, headers=HEADERS)

    def receive(self, text_data: str | None = None, bytes_data: bytes | None = None) -> None:
        if text_data is None or not text_data.startswith("!"):
            self.send(text_data, bytes_data)
        else:
            name, argument = command(text_data)
            getattr(self, name)(argument)

    def websocket_disconnect(self, message: dict[str, Any]) -> None:
        self.reason = message.get("reason")
        super().websocket_disconnect(message)

    def disconnect(self, code: int) -> None:
        self.record("disconnect", code=code, reason=self.reason)
        if self.asked("disconnect") == "crash":
            raise DeliberateError("in disconnect")
        if self.asked("disconnect").startswith("exit "):
            self.do_exit(self.asked("disconnect")[5:])

    def chat_shout(self, message: dict[str, Any]) -> None:
        self.send(message["text"])

    def chat_expel(self, message: dict[str, Any]) -> None:
        self.close(message["code"])

    def do_describe(self, argument: str) -> None:
        self.send(self.describe())

    def do_close(self, argument: str) -> None:
        code, _, reason = argument.partition(" ")
        self.close(int(code), reason or None)

    def do_crash(self, argument: str) -> None:
        raise DeliberateError("in receive")

    def do_exit(self, argument: str) -> None:
        if argument == "exit":
            sys.exit(3)
        if argument == "cancelled":
            async_to_sync(be_cancelled)()
        raise EXITS[argument]

    def do_sleep(self, argument: str) -> None:
        self.record("sleeping")
        time.sleep(float(argument))
        self.record("slept")

    def do_answer_after(self, argument: str) -> None:
        self.do_sleep(argument)
        self.send("slept")

    def do_wait(self, argument: str) -> None:
        self.record("waiting")
        gates[self.asked("key")].wait(LINGER)
        self.record("waited")

    def do_pour(self, argument: str) -> None:
        self.record("pouring")
        for _ in range(POURS):
            self.send(bytes_data=POURED)
        self.record("poured")

    def do_join(self, argument: str) -> None:
        async_to_sync(self.channel_layer.group_add)(argument, self.channel_name)
        self.send("joined")

    def do_layer(self, argument: str) -> None:
        async_to_sync(self.channel_layer.send)(self.channel_name, json.loads(argument))

    def do_expel(self, argument: str) -> None:
        message = {"type": "chat.expel", "code": int(argument)}
        async_to_sync(self.channel_layer.group_send)(GROUP, message)

    def do_work(self, argument: str) -> None:
        """Start a background task, which goes on until the end, or crashes."""
        self.start_background_task(self.work, argument)

    def work(self, argument: str) -> None:
        self.record("working")
        self.send("working")
        try:
            if argument == "crash":
                raise DeliberateError("in the background")
            self.background_stopping.wait(LINGER)
        finally:
            self.record("worked")

    def do_shout(self, argument: str) -> None:
        message = {"type": "chat.shout", "text": argument}
        async_to_sync(self.channel_layer.group_send)(GROUP, message)


class AsyncImpatient(AsyncActor):
    handshake_timeout = 1.0
    send_timeout = 1.0


class SyncImpatient(SyncActor):
    handshake_timeout = 1.0
    send_timeout = 1.0


class AsyncJson(Recording, AsyncJsonWebsocketConsumer):
    async def connect(self) -> None:
        self.record("connect")
        await self.accept()

    async def receive_json(self, content: Any, **kwargs: Any) -> None:
        await self.send_json(content)

    async def disconnect(self, code: int) -> None:
        self.record("disconnect", code=code)


class SyncJson(Recording, JsonWebsocketConsumer):
    def connect(self) -> None:
        self.record("connect")
        self.accept()

    def receive_json(self, content: Any, **kwargs: Any) -> None:
        self.send_json(content)

    def disconnect(self, code: int) -> None:
        self.record("disconnect", code=code)

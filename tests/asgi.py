"""The server's side of an ASGI connection, in process, to drive an application event by event.

It is what a server is to the application: it puts ``asgi`` into the scope, so errors are answered
rather than raised, and it may be told to behave as badly as real servers do.
"""

import asyncio
from collections.abc import Callable
from typing import Any

DEADLINE = 30.0


async def until(condition: Callable[[], Any], deadline: float = DEADLINE) -> Any:
    """Wait until ``condition()`` is true, and return it."""
    async with asyncio.timeout(deadline):
        while not (value := condition()):
            await asyncio.sleep(0.001)
        return value


class Server:
    def __init__(self, application: Any, scope_type: str = "websocket", **scope: Any) -> None:
        self.application = application
        self.scope: dict[str, Any] = {
            "type": scope_type,
            "asgi": {"version": "3.0", "spec_version": "2.4"},
            "path": "/ws/",
            "query_string": b"",
            "headers": [],
            **scope,
        }
        self.events: asyncio.Queue[dict[str, Any]] = asyncio.Queue()
        self.sent: list[dict[str, Any]] = []
        self.received = 0
        self.on_send: Callable[[dict[str, Any]], Any] | None = None
        self.task: asyncio.Task[None] | None = None

    async def receive(self) -> dict[str, Any]:
        event = await self.events.get()
        self.received += 1
        return event

    async def send(self, message: dict[str, Any]) -> None:
        if self.on_send is not None:
            await self.on_send(message)
        self.sent.append(message)

    def start(self) -> "Server":
        self.task = asyncio.create_task(self.application(self.scope, self.receive, self.send))
        return self

    async def connect(self) -> "Server":
        """Start, and wait for the handshake's answer."""
        self.put("websocket.connect")
        self.start()
        await until(lambda: self.sent or self.task.done())
        return self

    def put(self, event_type: str, **event: Any) -> None:
        self.events.put_nowait({"type": event_type, **event})

    def text(self, text: str) -> None:
        self.put("websocket.receive", text=text)

    async def leave(self, code: int = 1001) -> None:
        """The client goes, and the application ends."""
        self.put("websocket.disconnect", code=code)
        await self.ended()

    async def ended(self) -> None:
        assert self.task is not None
        async with asyncio.timeout(DEADLINE):
            await self.task

    def types(self) -> list[str]:
        return [message["type"] for message in self.sent]

    def texts(self) -> list[Any]:
        return [m.get("text") for m in self.sent if m["type"] == "websocket.send"]

"""WebSocket clients that remember how they were treated."""

import asyncio
import contextlib
import json
import time
from collections import Counter
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any

from websockets.asyncio.client import ClientConnection, connect, unix_connect
from websockets.exceptions import ConnectionClosed

__all__ = ["ORIGIN", "Client", "all_are_told", "clients_of_all", "until"]

#: Where the site is, for browsers.
ORIGIN = "https://www.example.com"
# Seconds; far more than a busy machine needs.
CONNECT_SECONDS = 60.0
CLOSE_SECONDS = 15.0


async def until(condition: Callable[[], Any], what: str, seconds: float = 20.0) -> Any:
    """Wait until ``condition()`` is true, and return what it returned."""
    try:
        async with asyncio.timeout(seconds):
            while not (value := condition()):
                await asyncio.sleep(0.02)
            return value
    except TimeoutError:
        raise AssertionError(f"not within {seconds:g} s: {what}") from None


class Client:
    """One WebSocket: who serves it, everything it was told, and how it ended."""

    def __init__(self, socket: ClientConnection, hello: dict[str, Any]) -> None:
        self.socket, self.hello = socket, hello
        self.pid: int = hello["pid"]
        self.told: list[Any] = []
        self.reader = asyncio.create_task(self._read())

    @classmethod
    async def connect(cls, url: str | Path, **options: Any) -> "Client":
        """By a URL, or the path of a Unix socket."""
        options = {"open_timeout": 30, "origin": ORIGIN, **options}
        if isinstance(url, Path):
            socket = await unix_connect(str(url), "ws://www.example.com/ws/", **options)
        else:
            socket = await connect(f"{url}/ws/", proxy=None, **options)
        return cls(socket, json.loads(await socket.recv()))

    async def _read(self) -> None:
        with contextlib.suppress(ConnectionClosed):
            while True:
                self.told.append(json.loads(await self.socket.recv()))

    async def say(self, content: Any) -> None:
        """Have the group told."""
        await self.socket.send(json.dumps(content))

    async def closed(self, seconds: float = CLOSE_SECONDS) -> int | None:
        """Wait for the end; the close code."""
        async with asyncio.timeout(seconds):
            await self.reader
            await self.socket.wait_closed()
        return self.socket.close_code


async def clients_of_all(
    connect_one: Callable[[], Any], workers: int, each: int = 2, seconds: float = CONNECT_SECONDS
) -> list[Client]:
    """Connect until ``workers`` processes serve at least ``each`` clients."""
    clients: list[Client] = []
    deadline = time.monotonic() + seconds
    while True:
        clients += await asyncio.gather(*(connect_one() for _ in range(4)))
        counts = Counter(client.pid for client in clients)
        if len(counts) == workers and min(counts.values()) >= each:
            return clients
        assert time.monotonic() < deadline, f"clients by process: {counts}"
        assert len(counts) <= workers, f"a process was replaced: {counts}"
        if len(clients) > 100:  # a worker that starts late finds the others' clients there
            await asyncio.gather(*(client.socket.close() for client in clients))
            clients = []
            await asyncio.sleep(0.2)


async def all_are_told(clients: Sequence[Client], content: Any) -> None:
    """One client says something; every client must be told, exactly once."""
    await clients[0].say(content)
    await until(lambda: all(content in client.told for client in clients), f"all told {content}")
    assert all(client.told.count(content) == 1 for client in clients)

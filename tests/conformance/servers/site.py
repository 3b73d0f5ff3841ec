"""The running site as the tests see it: its clients, its record of events, and its log."""

import asyncio
import itertools
import json
import re
import socket
import struct
from collections import defaultdict
from collections.abc import Callable
from pathlib import Path
from typing import Any
from urllib.parse import urlencode

import httpx
from websockets.asyncio.client import ClientConnection, connect

from tests.servers import Capabilities, RunningServer

__all__ = ["APPLICATION", "Client", "Events", "Site", "reset", "until"]

APPLICATION = "tests.realapp.asgi:application"
DEADLINE = 15.0  # shorter than the framework waits for a disconnect that is never reported
CLOSE_DEADLINE = 8.0  # shorter than a client waits for the server's side of a close

# Names for connections, unique in the test run.
numbers = itertools.count(1)


async def until(condition: Callable[[], Any], what: str, deadline: float = DEADLINE) -> Any:
    """Wait until ``condition()`` is true, and return what it returned."""
    try:
        async with asyncio.timeout(deadline):
            while not (value := condition()):
                await asyncio.sleep(0.005)
            return value
    except TimeoutError:
        raise AssertionError(f"not within {deadline:g} s: {what}") from None


class Client(ClientConnection):
    """A WebSocket client that knows under which key the application records it."""

    key: str

    async def closed(self) -> tuple[int | None, str | None]:
        """Wait for the end of the connection; its code and reason."""
        async with asyncio.timeout(CLOSE_DEADLINE):
            await self.wait_closed()
        return self.close_code, self.close_reason


def reset(client: Client) -> None:
    """Break the TCP connection as a vanished client does: RST instead of any handshake."""
    transport_socket = client.transport.get_extra_info("socket")
    linger = struct.pack("ii", 1, 0)
    transport_socket.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, linger)
    client.transport.abort()


class Events:
    """What the application recorded; it outlives the server process."""

    def __init__(self, path: Path) -> None:
        self._path = path
        self._read = 0
        self._by_key: defaultdict[str, list[dict[str, Any]]] = defaultdict(list)

    def of(self, key: str, event: str | None = None) -> list[dict[str, Any]]:
        """The events of one connection, all or those of one kind, as they happened."""
        self._catch_up()
        return [e for e in self._by_key[key] if event is None or e["event"] == event]

    def keys(self) -> set[str]:
        """The connections with events."""
        self._catch_up()
        return set(self._by_key)

    async def wait(self, key: str, event: str, deadline: float = DEADLINE) -> dict[str, Any]:
        """The event, as soon as it has happened."""
        what = f"{event} of {key}"
        found: list[dict[str, Any]] = await until(lambda: self.of(key, event), what, deadline)
        return found[0]

    def _catch_up(self) -> None:
        if self._path.exists():
            with self._path.open("rb") as file:
                file.seek(self._read)
                for line in file:
                    if not line.endswith(b"\n"):
                        break
                    self._read += len(line)
                    event = json.loads(line)
                    self._by_key[event["key"]].append(event)


class Site:
    """One server process with the test project, during one test."""

    def __init__(self, server: RunningServer, directory: Path) -> None:
        self.server = server
        self.can: Capabilities = server.kind.can
        self.events = Events(directory / "events.jsonl")
        self.http = httpx.AsyncClient(
            base_url=server.origin, timeout=DEADLINE, trust_env=False, verify=False
        )
        #: What stands in front of every path of the site.
        self.root = server.root
        self._before = len(server.output)
        self._old_keys = self.events.keys()
        self._clients: list[Client] = []
        #: Log lines that the test has looked at and found right.
        self.expected: list[str] = []
        #: Parts of lines that may be there or not.
        self.tolerated: list[str] = []
        #: Tracebacks that the test has asked for.
        self.expected_tracebacks = 0

    def key(self) -> str:
        """A name for a connection."""
        return f"k{next(numbers)}"

    def url(self, path: str, key: str | None = None, **query: str) -> str:
        """The URL of a WebSocket under ``/ws/``; ``path`` may carry a query string of its own."""
        query = {"key": key or self.key()} | query
        path = f"{self.root}/ws/{path}"
        return f"{self.server.ws_url}{path}{'&' if '?' in path else '?'}{urlencode(query)}"

    async def connect(
        self,
        path: str,
        *,
        key: str | None = None,
        query: dict[str, str] | None = None,
        **options: Any,
    ) -> Client:
        """Open a WebSocket; ``query`` and its ``key`` are for the application, options ours."""
        key = key or self.key()
        url = self.url(path, key, **(query or {}))
        options = {"proxy": None, "compression": None, "create_connection": Client} | options
        client: Any = await connect(url, **options)
        client.key = key
        self._clients.append(client)
        return client  # type: ignore[no-any-return]

    def handshake(self, path: str, key: str, *headers: bytes) -> bytes:
        """The bytes that open a WebSocket, for clients that are not as well-behaved as ours."""
        target = self.url(path, key).removeprefix(self.server.ws_url)
        lines = [
            f"GET {target} HTTP/1.1".encode(),
            f"Host: 127.0.0.1:{self.server.port}".encode(),
            b"Upgrade: websocket",
            b"Connection: Upgrade",
            b"Sec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==",
            b"Sec-WebSocket-Version: 13",
            *headers,
        ]
        return b"\r\n".join([*lines, b"", b""])

    @property
    def log(self) -> list[str]:
        """The lines that the server has printed since the test began."""
        return self.server.output[self._before :].splitlines()

    async def expect_line(self, *parts: str) -> str:
        """Wait for the line of the log that has all ``parts``; there must be one, and no more."""

        def matching() -> list[str]:
            return [line for line in self.log if all(part in line for part in parts)]

        lines = await until(matching, f"a log line with {parts} in {self.log}")
        assert len(lines) == 1, lines
        self.expected.append(lines[0])
        return str(lines[0])

    def code(self, code: int) -> int:
        """What the client sees when the framework closes with ``code``.

        It must close the socket in any case: with 1000 where the server refuses the code.
        """
        return code if self.can.protocol_close_codes else 1000

    async def expect_crash(self, consumer: str, path: str, error: str) -> None:
        """Wait for the one line and the one traceback that a crash leaves in the log."""
        await self.expect_line("ERROR channels.consumer", f"{consumer} at {path} crashed")
        await until(lambda: any(line.startswith(error) for line in self.log), error)
        self.expected_tracebacks += 1

    async def open_gate(self, key: str) -> None:
        """Let the handler go on that waits in this connection."""
        assert (await self.http.get(f"{self.root}/open/{key}/")).status_code == 200

    async def leave(self) -> None:
        """Close what the test has left open."""
        await asyncio.gather(*(client.close() for client in self._clients))

    async def state(self) -> dict[str, Any]:
        """What the server process holds at this moment."""
        response = await self.http.get(f"{self.root}/state/", headers={"connection": "close"})
        assert response.status_code == 200
        state: dict[str, Any] = response.json()
        return state

    @staticmethod
    def more_than(idle: dict[str, Any], state: dict[str, Any]) -> dict[str, Any]:
        """What ``state`` has on top of ``idle``, which is lowered to it where it has less.

        The state may be measured while the server still holds a connection: Hypercorn keeps the
        one that asked whether it has started for as long as any other that is idle.
        """
        idle["tasks"] = min(idle["tasks"], state["tasks"])
        return {name: value for name, value in state.items() if value != idle[name]}

    async def settle(self, idle: dict[str, Any]) -> None:
        """Wait until nothing of any connection is left, and check what must hold at the end."""
        left: dict[str, Any] = {}
        try:
            async with asyncio.timeout(DEADLINE):
                while left := self.more_than(idle, await self.state()):
                    await asyncio.sleep(0.05)
        except TimeoutError:
            raise AssertionError(f"left in the server: {left}, instead of {idle}") from None
        self.check_disconnects()
        self.check_log()

    def visitors(self) -> set[str]:
        """The connections of this test that have reached the application."""
        return self.events.keys() - self._old_keys - {"lifespan"}

    def check_disconnects(self) -> None:
        """``disconnect()`` ran exactly once for every connection of this test."""
        for key in self.visitors():
            connects, disconnects = (self.events.of(key, e) for e in ("connect", "disconnect"))
            assert len(connects) == len(disconnects) == 1, self.events.of(key)

    def check_log(self) -> None:
        """Nothing was logged but the lines and the tracebacks that the test expected."""
        lines, text = self.log, "\n".join(self.log)
        tracebacks = sum(line.startswith("Traceback (most recent") for line in lines)
        assert tracebacks == self.expected_tracebacks, text
        if tracebacks:
            # Between them, what does not belong to one: it starts with a level, or is a warning.
            lines = [
                line for line in lines if re.match(r"[A-Z]+:? |.*Warning:|.* ignored in", line)
            ]
        lines = [line for line in lines if not any(part in line for part in self.tolerated)]
        assert sorted(lines) == sorted(self.expected), text

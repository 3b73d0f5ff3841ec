"""Clients that come back when they are closed, as the guides want them, and somebody who talks."""

import asyncio
import contextlib
import random
from collections import Counter, defaultdict
from typing import Any, Self

from websockets.exceptions import InvalidStatus, WebSocketException

from channels.layers.redis import RedisChannelLayer
from tests.brokers import Broker

from .clients import Client, until

__all__ = ["Fleet", "Publisher"]


class Publisher:
    """Tells the group numbers, in several streams, until it is stopped. A context manager."""

    def __init__(self, broker: Broker, *, streams: int = 2, pause: float = 0.1) -> None:
        self._layer = RedisChannelLayer(hosts=[broker.url])
        self._streams, self._pause = streams, pause
        #: By stream, how many were sent.
        self.sent: Counter[int] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._talk(stream)) for stream in range(self._streams)]
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        outcomes = await asyncio.gather(*self._tasks, return_exceptions=True)
        await self._layer.aclose()
        assert all(isinstance(outcome, asyncio.CancelledError) for outcome in outcomes), outcomes

    async def _talk(self, stream: int) -> None:
        while True:
            content = {"stream": stream, "number": self.sent[stream] + 1}
            await self._layer.group_send("everybody", {"type": "told", "content": content})
            self.sent[stream] += 1
            await asyncio.sleep(self._pause)


class Fleet:
    """``count`` clients that connect to ``url``, and again whenever they are closed."""

    def __init__(self, url: str, count: int) -> None:
        self._url, self._count = url, count
        #: Who is connected, by number.
        self.connected: dict[int, Client] = {}
        #: All connections that there have been.
        self.sessions: list[Client] = []
        #: The codes with which connections ended that the clients did not end.
        self.codes: Counter[int | None] = Counter()
        #: What was answered, or happened, instead of a connection.
        self.refusals: Counter[Any] = Counter()

    async def __aenter__(self) -> Self:
        self._tasks = [asyncio.create_task(self._live(number)) for number in range(self._count)]
        await self.complete(60)
        return self

    async def __aexit__(self, *error: object) -> None:
        for task in self._tasks:
            task.cancel()
        await asyncio.wait(self._tasks)
        await asyncio.gather(*(client.socket.close() for client in self.connected.values()))
        for client in self.sessions:
            client.reader.cancel()

    async def complete(self, seconds: float = 30) -> None:
        """Wait until every client is connected."""

        def everybody() -> bool:
            for task in self._tasks:
                if task.done():
                    task.result()
            return len(self.connected) == self._count

        try:
            await until(everybody, "everybody is connected", seconds)
        except AssertionError:
            state = f"{len(self.connected)} of {self._count}, {self.codes}, {self.refusals}"
            raise AssertionError(f"not connected again: {state}") from None

    async def _live(self, number: int) -> None:
        pause = 0.05
        while True:
            try:
                client = await Client.connect(self._url)
            except InvalidStatus as refused:
                self.refusals[refused.response.status_code] += 1
            except (OSError, WebSocketException, EOFError) as failed:
                self.refusals[type(failed).__name__] += 1
            else:
                pause = 0.05
                self.sessions.append(client)
                self.connected[number] = client
                with contextlib.suppress(WebSocketException):
                    await client.reader
                await client.socket.wait_closed()
                del self.connected[number]
                self.codes[client.socket.close_code] += 1
            await asyncio.sleep(random.uniform(pause / 2, pause))
            pause = min(pause * 2, 2.0)

    def processes(self) -> Counter[int]:
        """How many clients each process serves."""
        return Counter(client.pid for client in self.connected.values())

    def check_messages(self) -> None:
        """While it was connected, every client was told everything, once and in order."""
        for client in self.sessions:
            streams: dict[int, list[int]] = defaultdict(list)
            for content in client.told:
                streams[content["stream"]].append(content["number"])
            for numbers in streams.values():
                assert numbers == list(range(numbers[0], numbers[0] + len(numbers)))

    async def hears(self, publisher: Publisher) -> None:
        """Wait until every client has been told something that is said from now on."""
        now = dict(publisher.sent)

        def behind() -> list[int]:
            return [
                number
                for number, client in self.connected.items()
                for stream, sent in now.items()
                if not any(c["stream"] == stream and c["number"] > sent for c in client.told[-20:])
            ]

        await until(lambda: not behind(), "everybody hears the publisher")

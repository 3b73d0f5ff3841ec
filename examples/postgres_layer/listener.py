"""Listening: to the process's own topic, and to one that says which named channels have news."""

import asyncio
import base64
import time
from collections.abc import Iterable
from typing import TYPE_CHECKING

from channels.layers.broker import Listener
from channels.layers.statistics import EXPIRED
from psycopg import AsyncConnection

from .connection import connect, explain, is_transient, run

if TYPE_CHECKING:
    from .transport import PostgresTransport

# Seconds for which others believe that a process is there, between its signs of life, and for an
# answer.
LEASE, RENEW, RESPONSE = 30.0, 5.0, 10.0


class PostgresListener(Listener[AsyncConnection]):
    def __init__(self, owner: "PostgresTransport") -> None:
        super().__init__(owner, "PostgreSQL", is_transient, explain)
        self.owner, self.renewed = owner, time.monotonic()

    async def connect(self) -> AsyncConnection:
        return await connect(self.owner.url, *self.owner.topics)

    async def register(self) -> None:
        await self.owner.register(self.owner.groups())
        self.owner.named.look()

    async def withdraw(self) -> None:
        await self.owner.link.run(*self.owner.goodbye)

    async def disconnect(self, connection: AsyncConnection) -> None:
        try:
            await run(connection, *self.owner.goodbye)
        finally:
            connection.pgconn.finish()

    async def echo(self, entry: bytes) -> None:
        await self.owner.link.run(
            "SELECT channels.notify(ARRAY[%s], %b)", self.owner.process, entry
        )

    async def receive(self, connection: AsyncConnection, seconds: float) -> Iterable[bytes]:
        found = []
        # All that has come at once. While they are iterated over, the connection can do no more.
        notes = [note async for note in connection.notifies(timeout=seconds, stop_after=1)]
        async with asyncio.timeout(RESPONSE):  # which a broken connection does not give
            if time.monotonic() - self.renewed > RENEW and self.is_ready():
                await self._renew(connection)
            for note in notes:
                try:
                    if note.channel != self.owner.topics[0]:
                        self.owner.named.look(note.payload)
                    elif note.payload.startswith("#"):
                        found += await self._fetch(connection, int(note.payload[1:]))
                    else:
                        found.append(base64.b64decode(note.payload))
                except ValueError:
                    found.append(b"")  # rubbish, which is counted
        return found

    async def _fetch(self, connection: AsyncConnection, number: int) -> list[bytes]:
        """What was too large for a notification."""
        rows = await run(connection, "SELECT data FROM channels.payload WHERE id = %s", number)
        if not rows:
            self.owner.count(EXPIRED, "what was sent to this process")
        return [data for (data,) in rows]

    async def _renew(self, connection: AsyncConnection) -> None:
        """Give a sign of life, and tidy up."""
        self.renewed, owner = time.monotonic(), self.owner
        statement = "SELECT channels.register(%s, %s, %s, '{}')"
        if await run(connection, statement, owner.process, LEASE, owner.name) != [(True,)]:
            raise ConnectionError("this process was silent for so long that others gave it up")
        for channel, count in await run(connection, "SELECT * FROM channels.sweep(%s)", owner.name):
            owner.count(EXPIRED, channel, count)

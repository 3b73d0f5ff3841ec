"""PostgreSQL as a transport: one topic for each process, memberships and queues in tables."""

import asyncio
from collections.abc import Iterable
from datetime import datetime
from hashlib import md5
from typing import Any, TypeAlias

from channels.exceptions import Unconfirmed
from channels.layers import broker
from channels.layers.statistics import CLOSED, EXPIRED

from .connection import PostgresLink
from .listener import LEASE, PostgresListener

SEND = """SELECT channels.notify(array(SELECT name FROM channels.process
    WHERE name = %s AND expires > clock_timestamp()), %b)"""

Row: TypeAlias = tuple[int, bytes, datetime]


class PostgresTransport(broker.Stateless, broker.Linked[PostgresListener, PostgresLink, Row]):
    """See :class:`~channels.layers.broker.Transport`; ``name`` is the layer's in the database."""

    def __init__(self, recipient: broker.Recipient, url: str, name: str) -> None:
        super().__init__(recipient)
        self.url, self.name, self.process = url, name, recipient.client_prefix
        digest = md5(name.encode()).hexdigest()
        self.topics = f"channels_{self.process}", f"channels_{digest}"
        self.goodbye = "DELETE FROM channels.process WHERE name = %s", self.process
        self.count = recipient.local.drop

    def make_link(self) -> PostgresLink:
        return PostgresLink(self.url)

    def make_readers(self) -> list[PostgresListener]:
        return [PostgresListener(self)]

    async def _send(self, statement: str, *args: Any) -> Any:
        """Send once, and not while this process itself could not receive it."""
        if self.receives_here():
            await self.receiver.readers[0].wait_until_up()
        return (await self.link.run(statement, *args, repeat=False))[0][0]

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        if process == self.process:
            await self.ready()
        try:
            found = await self._send(SEND, process, broker.entry(broker.TO_CHANNEL, channel, data))
        except Unconfirmed:
            return broker.UNCONFIRMED
        return None if found else CLOSED

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> Iterable[str]:
        content = broker.entry(broker.TO_GROUP, group, data)
        statement = "SELECT channels.group_send(%s, %s, %b)"
        try:
            return list(await self._send(statement, self.name, group, content))
        except Unconfirmed:
            self.count(broker.UNCONFIRMED, group)
            return ()

    async def tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
        await self.link.run(SEND, process, broker.entry(kind, group, channel.encode("ascii")))

    # Groups

    async def register(self, groups: list[str]) -> None:
        statement = "SELECT channels.register(%s, %s, %s, %s)"
        await self.link.run(statement, self.process, LEASE, self.name, groups)

    async def subscribe(self, group: str) -> None:
        await self.register([group])
        await asyncio.shield(self.receiver.readers[0].barrier())

    async def unsubscribe(self, group: str) -> None:
        statement = "DELETE FROM channels.member WHERE layer = %s AND grp = %s AND process = %s"
        if self.receives_here():
            await self.link.run(statement, self.name, group, self.process)

    async def bind(self, group: str, channel: str, lease: float) -> None:
        statement = """INSERT INTO channels.binding VALUES (%s, %s, %s, channels.after(%s))
            ON CONFLICT (layer, grp, channel) DO UPDATE SET expires = excluded.expires"""
        await self.link.run(statement, self.name, group, channel, lease)

    async def unbind(self, group: str, channel: str) -> None:
        statement = "DELETE FROM channels.binding WHERE layer = %s AND grp = %s AND channel = %s"
        await self.link.run(statement, self.name, group, channel)

    # Named channels

    async def enqueue(self, channel: str, data: bytes, capacity: int, expiry: float) -> bool:
        statement = "SELECT channels.enqueue(%s, %s, %b, %s, %s)"
        args = self.name, channel, data, capacity, expiry
        try:
            return (await self.link.run(statement, *args, repeat=False)) == [(True,)]
        except Unconfirmed:
            self.count(broker.UNCONFIRMED, channel)
            return True

    async def dequeue(self, channel: str, expiry: float) -> tuple[bytes, str | None]:
        _, data, _ = await self.named.receive(channel)
        return data, None

    async def take(self, channel: str) -> Row | None:
        statement = "SELECT * FROM channels.dequeue(%s, %s)"
        try:
            while rows := await self.link.run(statement, self.name, channel, repeat=False):
                *row, expired = rows[0]
                if not expired:
                    return tuple(row)
                self.count(EXPIRED, channel)
        except Unconfirmed:  # a message may have been taken
            self.count(broker.UNCONFIRMED, channel)
        return None

    async def give_back(self, channel: str, row: Row) -> None:
        statement = "INSERT INTO channels.queue VALUES (%s, %s, %s, %b, %s)"
        await self.link.run(statement, row[0], self.name, channel, *row[1:])
        await self.link.run("SELECT pg_notify(%s, %s)", self.topics[1], channel)

    async def delete_all(self) -> None:
        for table in ("queue", "binding"):
            await self.link.run(f"DELETE FROM channels.{table} WHERE layer = %s", self.name)

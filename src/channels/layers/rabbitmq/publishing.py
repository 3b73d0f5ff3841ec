"""Publishing, with the broker's confirmation."""

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from ...exceptions import MessageTooLarge
from .connecting import Nodes
from .frames import properties
from .line import Line
from .link import Link
from .names import exchange_name
from .outbox import Outbox, Outcome, too_large
from .wire import Wire

__all__ = ["Outcome", "Publisher"]


class Publisher:
    """What one event loop publishes, over one connection, in order.

    RabbitMQ stops reading a connection over which something is published when its memory or its
    disk are short. So nothing is received over this one.

    Args:
        nodes: where to connect.
        prefix: of the exchange.
    """

    def __init__(self, nodes: Nodes, prefix: str) -> None:
        self._nodes = nodes
        self._exchange = exchange_name(prefix)
        self._line: Line[Outbox] = Line(nodes.name, "sending", self._connect)
        self.abandon, self.aclose = self._line.abandon, self._line.aclose
        # The last of those that wait for the connection; done when it does no more.
        self._last: asyncio.Future[None] | None = None
        # The bytes that a message may have, once RabbitMQ has refused one.
        self._largest: int | None = None
        #: Messages and calls that wait for the connection, or for an answer.
        self.under_way = 0

    async def _connect(self) -> Outbox:
        wire = Wire()
        link = await self._nodes.connect("sending", self._prepare, wire)
        return Outbox(link, wire, self._nodes.response_timeout)

    async def _prepare(self, link: Link) -> None:
        await link.ask(lambda channel: channel.exchange_declare(self._exchange, durable=True))

    async def _outbox(self) -> Outbox:
        """The connection, open, and not blocked, when those that came before have it.

        Raises:
            BrokerUnavailable: there is none, or RabbitMQ takes no messages.
            BrokerError: RabbitMQ refuses.
        """
        before, mine = self._last, asyncio.get_running_loop().create_future()
        self._last = mine
        try:
            while True:
                outbox = await self._line.get()
                await outbox.flow()
                if before is not None and not before.done():
                    await asyncio.wait((before,))
                if outbox.is_ready:
                    return outbox
        finally:
            mine.set_result(None)
            if self._last is mine:
                self._last = None

    @asynccontextmanager
    async def link(self) -> AsyncIterator[Link]:
        """Lend the connection for a call, not blocked. :meth:`rest` leaves it open meanwhile.

        Raises:
            BrokerUnavailable: there is none, or RabbitMQ takes no messages.
            BrokerError: RabbitMQ refuses.
        """
        self.under_way += 1
        try:
            yield (await self._outbox()).link
        finally:
            self.under_way -= 1

    async def publish(
        self,
        key: str,
        body: bytes,
        *,
        direct: bool = False,
        mandatory: bool = False,
        persistent: bool = False,
        expiration: float | None = None,
        kind: str | None = None,
    ) -> Outcome:
        """Publish a message, and wait until the broker has it.

        Args:
            key: the routing key.
            body: the message.
            direct: to the queue with the name ``key``, not to the exchange.
            mandatory: whether it matters that there is no queue for it.
            persistent: whether it is to outlive the broker, in a durable queue.
            expiration: seconds that it may wait in a queue.
            kind: the type of a message that is not a consumer's.

        Raises:
            BrokerUnavailable: it was not published.
            BrokerError: RabbitMQ refuses.
            MessageTooLarge: RabbitMQ takes none that is so large.
            Unconfirmed: perhaps it was published.
        """
        if self._largest is not None and len(body) > self._largest:
            raise too_large(len(body), self._largest)
        self.under_way += 1
        try:
            outbox = self._line.link
            if outbox is None or self._last is not None or not outbox.is_ready:
                outbox = await self._outbox()
            return await outbox.publish(
                "" if direct else self._exchange, key, body,
                properties(
                    persistent=persistent, expiration=expiration, kind=kind, numbered=mandatory
                ),
                mandatory=mandatory,
            )  # fmt: skip
        except MessageTooLarge:  # another one like it would end the connection again
            self._largest = outbox.largest if outbox is not None else None
            raise
        finally:
            self.under_way -= 1

    async def rest(self) -> None:
        """Let the connection go, unless something is under way."""
        if not self.under_way:
            await self.aclose()

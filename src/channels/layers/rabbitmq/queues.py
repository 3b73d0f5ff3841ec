"""The queues of named channels: durable, bounded, and gone when nobody uses them."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any

from aiormq.abc import DeliveredMessage
from aiormq.channel import Channel
from aiormq.exceptions import ChannelNotFoundEntity, ChannelPreconditionFailed

from ..._runtime import lograte, timers
from ..._runtime.clock import now
from ..._runtime.per_loop import PerLoop
from ...exceptions import BrokerError, BrokerUnavailable, Unconfirmed
from ..broker.process import ProcessChannels
from ..broker.receiver import PATIENCE
from ..broker.reconnecting import backoff
from ..broker.transport import UNCONFIRMED
from ..options import milliseconds
from .connecting import Nodes, explain, is_transient
from .line import Line
from .link import Link
from .names import exchange_name, expired_queue, group_key, group_of, named_queue
from .publishing import Outcome, Publisher
from .reading import PURPOSE, QueueReader

__all__ = ["NamedQueues"]

logger = logging.getLogger("channels.layers")

# How much longer than its messages a queue lives that nobody uses, and for how long at the least.
_LIVES, _LEAST = 2, 60.0

# The share of its capacity below which RabbitMQ lets a quorum queue take messages again.
_TAKES_AGAIN = 0.8

# The version of RabbitMQ since which a quorum queue drops what it has been given back 20 times,
# unless it is told not to. Callers of receive() may give up as often as they like.
_LIMITS_DELIVERIES = 4

# Expired messages that may wait to be counted.
_COUNTED = 10_000


class _Reading:
    """What one event loop reads, over one connection."""

    def __init__(self, line: Line[Link]) -> None:
        self.line = line
        self.readers: dict[str, QueueReader] = {}
        self.abandon = line.abandon


class NamedQueues:
    """The queues of all named channels, as this process uses them.

    Args:
        nodes: where they are.
        prefix: of names at the broker.
        kind: ``"classic"`` or ``"quorum"``.
        local: counts what was lost.
        get_publisher: what publishes on the running event loop.
        expired: counts a message that has expired.
        capacity_of: how many messages a channel may hold.
        expiry: seconds that messages live.
    """

    def __init__(
        self,
        nodes: Nodes,
        prefix: str,
        kind: str,
        local: ProcessChannels,
        get_publisher: Callable[[], Publisher],
        expired: Callable[[DeliveredMessage], None],
        capacity_of: Callable[[str], int],
        expiry: float,
    ) -> None:
        self._nodes = nodes
        self._prefix, self._kind = prefix, kind
        self._local = local
        self._get_publisher = get_publisher
        self._expired = expired
        self._capacity_of = capacity_of
        self._life = max(expiry * _LIVES, _LEAST)
        self._reading: PerLoop[_Reading] = PerLoop(self._make_reading)
        # The queues that are known to be there, and until when.
        self._known: dict[str, float] = {}

    # Sending

    async def enqueue(self, channel: str, data: bytes, capacity: int, expiry: float) -> bool:
        """Append a message; see :meth:`~channels.layers.broker.transport.Transport.enqueue`."""
        publisher = self._get_publisher()
        try:
            outcome = await self._append(publisher, channel, data, expiry)
            if outcome is Outcome.UNROUTABLE:  # somebody has deleted it
                self._known.pop(channel, None)
                outcome = await self._append(publisher, channel, data, expiry)
            attempt, until = 1, now() + PATIENCE
            while outcome is Outcome.FULL and await self._has_room(channel):
                if now() > until:
                    raise BrokerUnavailable(
                        f"RabbitMQ has taken no message for channel {channel} for {PATIENCE:g} "
                        "seconds, although its queue has room: most nodes that have it may be down"
                    )
                await timers.sleep(backoff(attempt))
                attempt += 1
                outcome = await self._append(publisher, channel, data, expiry)
        except Unconfirmed:
            self._local.drop(UNCONFIRMED, channel)
            return True
        return outcome is not Outcome.FULL

    async def _has_room(self, channel: str) -> bool:
        """Whether a quorum queue has refused a message for another reason than its length.

        It does so while it has no leader, or one that does not answer in time. After it was full,
        it takes messages again once a fifth of it is empty.
        """
        if self._kind != "quorum":
            return False
        queue = named_queue(self._prefix, channel)
        try:
            async with self._get_publisher().link() as link:
                found = await link.apart(lambda channel: channel.queue_declare(queue, passive=True))
        except Exception as error:
            if is_transient(error):  # the connection broke; the next attempt makes another
                return True
            raise explain(error, "to tell how long a queue is") from error
        return (found.message_count or 0) < _TAKES_AGAIN * self._capacity_of(channel)

    async def _append(
        self, publisher: Publisher, channel: str, data: bytes, expiry: float
    ) -> Outcome:
        if self._known.get(channel, 0.0) < now():
            await self._repeat(partial(self.declare, channel))
        return await publisher.publish(
            named_queue(self._prefix, channel),
            data,
            direct=True,
            mandatory=True,
            persistent=True,
            expiration=expiry,
        )

    async def _repeat(self, call: Callable[[Link], Awaitable[object]]) -> None:
        """Make a call that may be repeated, over one connection after the other.

        Raises:
            BrokerError: RabbitMQ refuses, or cannot be reached for long.
        """
        attempt, until = 1, now() + PATIENCE
        while True:
            async with self._get_publisher().link() as link:
                try:
                    await call(link)
                    return
                except BrokerError:  # the call says so itself
                    raise
                except Exception as error:
                    if not is_transient(error):
                        raise explain(error) from error
                    if now() > until:
                        raise BrokerUnavailable(
                            f"RabbitMQ did not do what it was asked for {PATIENCE:g} seconds: "
                            f"{str(error) or type(error).__name__}"
                        ) from error
            await timers.sleep(backoff(attempt))
            attempt += 1

    async def declare(self, channel: str, link: Link) -> None:
        """Make the queue of a channel if it is not there, and let it live on.

        Raises:
            BrokerUnavailable: it is a classic queue of a cluster, on a node that is down.
        """
        queue = named_queue(self._prefix, channel)
        arguments: dict[str, Any] = {
            "x-queue-type": self._kind,
            "x-expires": milliseconds(self._life),
            "x-max-length": self._capacity_of(channel),
            "x-overflow": "reject-publish",
            "x-dead-letter-exchange": "",
            "x-dead-letter-routing-key": expired_queue(self._prefix),
        }
        if self._kind == "quorum" and link.version >= _LIMITS_DELIVERIES:
            arguments["x-delivery-limit"] = -1
        try:
            await _make(link, queue, arguments)
        except ChannelPreconditionFailed as error:
            # Another version of the project has made it, with other options.
            lograte.log(
                logger, logging.WARNING, "queue", "The queue %s was made with other options, which "
                "hold until it is deleted: %s", queue, error,
            )  # fmt: skip
        except ChannelNotFoundEntity as error:
            raise BrokerUnavailable(
                f"The queue of channel {channel} is on a node of RabbitMQ's cluster that is down; "
                f'with queue_type "quorum" it would be on several: {error}'
            ) from error
        self._known[channel] = now() + self._life / 4

    async def prepare(self, link: Link, expired: Callable[[DeliveredMessage], None]) -> None:
        """Make the queue of what has expired, and count what comes there, over a connection."""

        async def count(message: DeliveredMessage) -> None:
            expired(message)

        queue = expired_queue(self._prefix)
        # A classic queue, whatever the others are: one that has no leader yet, as after a restart,
        # would leave its consumers, and so this process, without an answer.
        arguments: dict[str, Any] = {"x-queue-type": "classic", "x-max-length": _COUNTED}
        try:
            await _make(link, queue, arguments)
        except ChannelNotFoundEntity as error:
            lograte.log(
                logger, logging.WARNING, "expired", "The queue %s is on a node that is down; what "
                "expires in named channels is counted late, or never: %s", queue, error,
            )  # fmt: skip
            return
        await link.ask(lambda channel: channel.basic_consume(queue, count, no_ack=True))

    # Groups

    async def bind(self, group: str, channel: str) -> None:
        """Let a named channel get what is sent to a group."""
        await self._repeat(partial(self.declare, channel))
        binding = self._binding(group, channel)
        await self._repeat(partial(_apart, lambda channel: channel.queue_bind(*binding)))

    async def unbind(self, group: str, channel: str) -> None:
        """Let a named channel get it no more."""
        binding = self._binding(group, channel)
        await self._repeat(partial(_apart, lambda channel: channel.queue_unbind(*binding)))

    def _binding(self, group: str, channel: str) -> tuple[str, str, str]:
        exchange = exchange_name(self._prefix)
        return named_queue(self._prefix, channel), exchange, group_key(group)

    # Receiving

    def _make_reading(self) -> _Reading:
        async def prepare(link: Link) -> None:
            await self.prepare(link, self._expired)

        connect = partial(self._nodes.connect, PURPOSE, prepare)
        return _Reading(Line(self._nodes.name, PURPOSE, connect))

    async def dequeue(self, channel: str) -> tuple[bytes, str | None]:
        """The next message; see :meth:`~channels.layers.broker.transport.Transport.dequeue`."""
        reading = self._reading.get()
        if channel not in reading.readers:
            reading.readers[channel] = QueueReader(
                self._nodes,
                reading.line,
                channel,
                named_queue(self._prefix, channel),
                partial(self.declare, channel),
                partial(self._local.drop, UNCONFIRMED, channel),
                partial(self._put_back, channel),
            )
        message = await reading.readers[channel].receive()
        kind = message.header.properties.message_type  # of what was put back
        return message.body, group_of(message.routing_key or "") or kind

    async def _put_back(self, channel: str, message: DeliveredMessage) -> None:
        """Append what was acknowledged and nobody wants."""
        key = message.routing_key or ""
        await self._get_publisher().publish(
            named_queue(self._prefix, channel), message.body, direct=True, persistent=True,
            expiration=int(message.header.properties.expiration or 0) / 1000 or self._life,
            kind=group_of(key),
        )  # fmt: skip

    async def stop_receiving(self, channel: str) -> None:
        """Give back what this event loop was sent and nobody here waits for."""
        reading = self._reading.peek()
        readers = reading.readers if reading is not None else {}
        if channel in readers and not readers[channel].is_wanted():
            await readers.pop(channel).aclose()

    def is_awaited(self) -> bool:
        """Whether a caller on this event loop waits for a message."""
        reading = self._reading.peek()
        return reading is not None and any(each.callers for each in reading.readers.values())

    # The whole

    async def delete(self) -> None:
        """Delete the queues that this process knows."""
        readers = self._reading.peek()
        known = {*self._known, *(readers.readers if readers is not None else ())}
        self._known.clear()
        for channel in known:
            delete = partial(_delete, named_queue(self._prefix, channel))
            await self._repeat(partial(_apart, delete))

    async def rest(self) -> None:
        """End what reads on this event loop for no caller."""
        reading = self._reading.peek()
        if reading is None:
            return
        idle = [name for name, reader in reading.readers.items() if not reader.callers]
        await asyncio.gather(*(reading.readers.pop(name).aclose() for name in idle))
        if not reading.readers:
            await reading.line.aclose()

    async def aclose(self) -> None:
        """End all that reads on this event loop."""
        reading = self._reading.pop()
        if reading is not None:
            await asyncio.gather(*(reader.aclose() for reader in reading.readers.values()))
            await reading.line.aclose()


async def _make(link: Link, queue: str, arguments: dict[str, Any]) -> None:
    """Make a durable queue, if it is not there; a refusal leaves the link as it was."""
    await link.apart(
        lambda channel: channel.queue_declare(queue, durable=True, arguments=arguments)
    )


async def _delete(queue: str, channel: Channel) -> None:
    await channel.queue_delete(queue)


async def _apart(call: Callable[[Channel], Awaitable[object]], link: Link) -> None:
    await link.apart(call)

"""RabbitMQ as a transport: published once, routed to the queue of each process.

A process has one queue, which is bound for itself and for each group it has members in, and hands
what comes to their mailboxes. The queue ends with its connection, so what is published while that
is broken passes the process by: it connects again, and tells each consumer concerned, once. Named
channels have durable queues.
"""

import asyncio
from collections.abc import Callable, Iterable

from aiormq.abc import DeliveredMessage

from ..._runtime.per_loop import PerLoop
from ...exceptions import ChannelFull, InvalidNameError, Unconfirmed
from ..broker.broadcasting import TO_CHANNEL, Broadcasting
from ..broker.stateless import Stateless
from ..broker.transport import UNCONFIRMED, Recipient
from ..local import Late
from ..statistics import CAPACITY, CLOSED, EXPIRED
from .connecting import Nodes
from .deliveries import Delivery
from .inbox import Inbox
from .link import Link
from .losses import Losses
from .names import GAP, channel_of, group_key, group_of, named_queue, process_key
from .publishing import Outcome, Publisher
from .queues import NamedQueues

__all__ = ["RabbitMQTransport"]

# What members of groups, and channels, are told.
_UNCONFIRMED = b"the broker did not confirm a message"
_FULL = b"the queue of a process or of a named channel was full"


class _Sender:
    """What one event loop sends."""

    def __init__(self, nodes: Nodes, prefix: str) -> None:
        self.publisher = Publisher(nodes, prefix)
        self.losses = Losses(lambda: self.publisher)
        self.abandon = self.publisher.abandon

    async def aclose(self) -> None:
        await self.losses.aclose()
        await self.publisher.aclose()


class RabbitMQTransport(Broadcasting[Inbox], Stateless):
    """Carries messages through one exchange; see :class:`~..broker.transport.Transport`.

    Args:
        recipient: the layer.
        nodes: where to connect.
        prefix: of names at the broker.
        inbox_capacity: messages that may wait for one process.
        queue_type: of named channels: ``"classic"`` or ``"quorum"``.
        capacity_of: how many messages a named channel may hold.
        expiry: seconds that messages live.
    """

    def __init__(
        self,
        recipient: Recipient,
        nodes: Nodes,
        prefix: str,
        inbox_capacity: int,
        queue_type: str,
        capacity_of: Callable[[str], int],
        expiry: float,
    ) -> None:
        super().__init__(recipient)
        self._nodes, self._prefix = nodes, prefix
        self._inbox_capacity = inbox_capacity
        self._senders: PerLoop[_Sender] = PerLoop(lambda: _Sender(nodes, prefix))
        #: The queues of named channels.
        self.named = NamedQueues(
            nodes, prefix, queue_type, self._local, self._get_publisher, self.expired, capacity_of,
            expiry,
        )  # fmt: skip
        self.enqueue = self.named.enqueue
        self.stop_receiving = self.named.stop_receiving

    def _get_publisher(self) -> Publisher:
        return self._senders.get().publisher

    # Receiving

    def make_readers(self) -> list[Inbox]:
        """The queue of this process."""
        return [
            Inbox(
                self._nodes, self._prefix, self._process, self._inbox_capacity,
                lambda: self._memberships, self, self._get_publisher, self._prepare,
            )
        ]  # fmt: skip

    async def _prepare(self, link: Link) -> None:
        await self.named.prepare(link, self.expired)

    def published(self, message: Delivery, patience: float) -> Late | None:
        """A message came, to a group or to this process."""
        group = group_of(message.key)
        if message.kind == GAP:
            self._told_of_loss(group, message.body.decode("ascii", "replace"))
        elif group is not None:
            return self._recipient.deliver_to_group(group, message.body, 0.0, patience)
        else:
            try:
                return self.received(message.body, patience)
            except (UnicodeDecodeError, InvalidNameError):
                self.drop_rubbish()
        return None

    def _told_of_loss(self, group: str | None, notice: str) -> None:
        """Somebody's message to a group, or to a channel here, may be lost."""
        if group is not None:
            self._local.announce_gap_to_group(group, notice)
        else:
            channel, _, reason = notice.partition(" ")
            self._local.announce_gap_to_channel(channel, reason)

    def expired(self, message: DeliveredMessage) -> None:
        """A message has expired in a named channel: one process counts it."""
        headers = message.header.properties.headers or {}
        queue = headers.get("x-first-death-queue")
        if isinstance(queue, str) and queue.startswith(named_queue(self._prefix, "")):
            self._local.drop(EXPIRED, channel_of(self._prefix, queue))

    # Sending

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        """Publish to a process."""
        if process == self._process:
            await self._wait_until_heard()
        name, key, sender = channel.encode("ascii"), process_key(process), self._senders.get()
        entry = b"%b%b %b" % (TO_CHANNEL, name, data)
        try:
            outcome = await sender.publisher.publish(key, entry, mandatory=True)
        except Unconfirmed:
            sender.losses.tell(key, b"%b %b" % (name, _UNCONFIRMED))
            return UNCONFIRMED
        if outcome is Outcome.FULL:
            raise ChannelFull(
                f"The process of channel {channel} has {self._inbox_capacity} messages to read, "
                "which is as many as its queue holds"
            )
        return None if outcome is Outcome.TAKEN else CLOSED

    async def _wait_until_heard(self) -> None:
        """Wait until what is sent to this process arrives, if it does not for a moment."""
        if not self.receiver.is_ready():
            await self.ready()
        if self.receives_here():
            await self.receiver.readers[0].wait_until_up()

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> Iterable[str]:
        """Publish to a group: to processes, and to the queues of named channels."""
        if self.receiver.readers and not self.receiver.readers[0].up and self.receives_here():
            await self.receiver.readers[0].wait_until_up()
        sender = self._senders.get()
        try:
            outcome = await sender.publisher.publish(group_key(group), data, expiration=expiry)
        except Unconfirmed:
            self._local.drop(UNCONFIRMED, group)
            sender.losses.tell(group_key(group), _UNCONFIRMED)
            return ()
        if outcome is Outcome.FULL:
            self._local.drop(CAPACITY, group)
            sender.losses.tell(group_key(group), _FULL)
        return ()

    # Groups

    def subscribe(self, group: str) -> "asyncio.Future[None]":
        """Bind the process's queue for a group."""
        return self.receiver.readers[0].subscribe(group)

    def unsubscribe(self, group: str) -> None:
        """End that. Nobody has to wait for it."""
        if self.receives_here():
            self.receiver.readers[0].unsubscribe(group)

    def reader_of(self, group: str) -> Inbox:
        """The queue of this process."""
        return self.receiver.readers[0]

    async def tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
        """Publish to a process that one of its channels is to join or leave a group."""
        entry = b"%b%b %b" % (kind, group.encode("ascii"), channel.encode("ascii"))
        try:
            await self._get_publisher().publish(process_key(process), entry)
        except Unconfirmed:
            return

    async def bind(self, group: str, channel: str, lease: float) -> None:
        """Add a named channel to a group, for as long as its queue is there."""
        await self.named.bind(group, channel)

    async def unbind(self, group: str, channel: str) -> None:
        """Remove a named channel from a group."""
        await self.named.unbind(group, channel)

    # Named channels

    async def dequeue(self, channel: str, expiry: float) -> tuple[bytes, str | None]:
        """The next message of a named channel."""
        return await self.named.dequeue(channel)

    # The whole

    async def delete_all(self) -> None:
        """Delete the queues of named channels that this process knows."""
        await self.named.delete()

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""
        await self.receiver.rest()
        await self.named.rest()
        sender = self._senders.peek()
        if sender is not None:
            await sender.publisher.rest()

    def connected_loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops that send."""
        return {loop for loop, _ in self._senders.all()}

    async def close_connections(self) -> None:
        """Stop to read queues and to send on the running event loop."""
        await self.named.aclose()
        sender = self._senders.pop()
        if sender is not None:
            await sender.aclose()

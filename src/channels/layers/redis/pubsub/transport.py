"""Redis pub/sub as a transport: published to each process, kept nowhere.

A process subscribes once to its own topic and once to the topic of each group it has members in,
and hands what comes to their mailboxes. The server keeps no message, so what is published while
a process's connection is broken passes it by: it reconnects, subscribes again, and tells each
consumer concerned, once.
"""

import asyncio
import contextlib
from collections.abc import Collection, Iterable
from functools import partial

from ....exceptions import InvalidNameError, SerializationError, Unconfirmed
from ...broker.background import Callbacks
from ...broker.broadcasting import TO_CHANNEL, Broadcasting
from ...broker.process import process_of
from ...broker.transport import UNCONFIRMED, Recipient
from ...local import Late
from ...statistics import CLOSED
from ..connection.servers import ClusterServer, Server
from ..keys import NOTHING, UNSURE, group_topic, named_key, process_topic
from ..partitions import Partitions, milliseconds
from ..places import Places
from ..queues.named import NamedChannels
from ..schedule import RedisSchedule
from ..states import States
from ..tokens import Tokens
from .notices import LossNotices
from .requests import PLAIN, SHARDED, Commands
from .subscription import Subscription

__all__ = ["PubSubTransport"]


class PubSubTransport(Broadcasting[Subscription]):
    """Carries messages over topics; see :class:`~channels.layers.broker.transport.Transport`.

    Args:
        recipient: the layer.
        servers: one for each partition.
        bases: what all topics and keys of a partition begin with.
        sharded: whether to use sharded pub/sub; None for whether a cluster has it.
        callbacks: to call as connections break and are repaired.
        schedule_capacity: messages that may be scheduled in each partition.
    """

    def __init__(
        self,
        recipient: Recipient,
        servers: list[Server],
        bases: list[str],
        sharded: bool | None,
        callbacks: Callbacks,
        schedule_capacity: int,
    ) -> None:
        super().__init__(recipient)
        self._callbacks = callbacks
        self._partitions = Partitions(servers, bases)
        self._senders = self._partitions.senders
        #: The queues of named channels.
        self.named = NamedChannels(self._partitions, self._process, self._local)
        self.enqueue, self.dequeue = self.named.enqueue, self.named.dequeue
        self.stop_receiving = self.named.stop_receiving
        states = States(self._partitions)
        self.set_state, self.get_states = states.set, states.get
        self.delete_state = states.delete
        self.take_tokens = Tokens(self._partitions).take
        self.hold_places = Places(self._partitions).hold
        #: What is to be sent later.
        self.schedule = RedisSchedule(self._partitions, self._local, schedule_capacity)
        #: The kind of pub/sub; None until the servers have been asked what they have.
        self.commands: Commands | None = SHARDED if sharded else PLAIN
        if sharded is None and isinstance(servers[0], ClusterServer):
            self.commands = None
        # The process's own topic on each server.
        self._own_topics = [process_topic(base, self._process).encode() for base in bases]
        # The groups that the process is subscribed to, by topic, for each server.
        self._groups: list[dict[bytes, str]] = [{} for _ in servers]
        self._notices = LossNotices(self._partitions)

    async def _get_commands(self) -> Commands:
        """The kind of pub/sub to use; a cluster is asked what it has."""
        if self.commands is None:
            (found,) = (
                await self._senders.get().connections[0].call("COMMAND", "INFO", SHARDED.subscribe)
            )
            self.commands = SHARDED if found else PLAIN
        return self.commands

    # Receiving

    async def prepare(self) -> None:
        """Ask a cluster what it has."""
        await self._get_commands()

    def make_readers(self) -> list[Subscription]:
        """A subscription for each server."""
        commands = self.commands or PLAIN  # which prepare() has found out
        return [
            Subscription(
                server, number, commands, self, own_topic, groups,
                partial(self._probe, number, commands),
            )
            for number, (server, own_topic, groups) in enumerate(
                zip(
                    self._partitions.servers, self._own_topics, self._groups, strict=True
                )
            )
        ]  # fmt: skip

    # Sending

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        """Publish to a process."""
        if process == self._process and not self.receiver.is_ready():
            await self.ready()
        commands = self.commands or await self._get_commands()
        partition = self._partitions.number_of(channel)
        try:
            published = await self._publish(partition, process, TO_CHANNEL, channel, data)
        except Unconfirmed:
            topic = process_topic(self._partitions.bases[partition], process)
            head = b"%b%b " % (TO_CHANNEL, channel.encode("ascii"))
            self._notices.publish(partition, commands.publish, topic, head)
            return UNCONFIRMED
        return None if published else CLOSED

    async def _publish(
        self, partition: int, process: str, kind: bytes, name: str, data: bytes
    ) -> int:
        """Publish to a process; whether it is there."""
        commands = self.commands or await self._get_commands()
        subscriptions = self.receiver.readers
        if subscriptions and not subscriptions[partition].up and self.receives_here():
            await subscriptions[partition].wait_until_up()
        topic = process_topic(self._partitions.bases[partition], process)
        content = b"%b%b %b" % (kind, name.encode("ascii"), data)
        connection = self._senders.get().connections[partition]
        receivers: int = await connection.call(commands.publish, topic, content, repeat=False)
        if not receivers and not self._partitions.servers[partition].is_cluster:
            # Nobody has it. If this server has become a replica, they listen to another one.
            arguments = [commands.publish, content]
            receivers = await connection.run("tell", [topic], arguments, repeat=False)
        return receivers

    def _probe(self, partition: int, commands: Commands) -> "asyncio.Future[int]":
        """Publish something to this process; the future gets on how many connections it is heard.

        It goes the way of all that is sent, and is refused where the server has become a replica.
        """
        topic = self._own_topics[partition]
        connection = self._senders.get().connections[partition]
        return connection.run("tell", [topic.decode()], [commands.publish, NOTHING], repeat=False)

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> Iterable[str]:
        """Publish to a group; its named channels are left to the layer."""
        commands = self.commands or await self._get_commands()
        partition = self._partitions.number_of(group)
        base = self._partitions.bases[partition]
        topic, named_channels = group_topic(base, group), named_key(base, group)
        subscriptions = self.receiver.readers
        if subscriptions and not subscriptions[partition].up and self.receives_here():
            await subscriptions[partition].wait_until_up()
        loop, sender = self._senders.latest
        if sender is None or loop is not asyncio.get_running_loop():
            sender = self._senders.get()
        try:
            named = await sender.connections[partition].run(
                "publish", [topic, named_channels], [commands.publish, data], repeat=False
            )  # fmt: skip
        except Unconfirmed:
            self._local.drop(UNCONFIRMED, group)
            self._notices.publish(partition, commands.publish, topic)
            return ()
        return [name.decode("ascii", "replace") for name in named] if named else ()

    # Groups

    def _topic_of(self, group: str) -> tuple[int, bytes]:
        """The number of the server that has a group, and its topic there."""
        partition = self._partitions.number_of(group)
        return partition, group_topic(self._partitions.bases[partition], group).encode()

    def subscribe(self, group: str) -> "asyncio.Future[None]":
        """Subscribe to the topic of a group."""
        partition, topic = self._topic_of(group)
        self._groups[partition][topic] = group
        return self.receiver.readers[partition].subscribe(topic)

    def unsubscribe(self, group: str) -> None:
        """Unsubscribe from the topic of a group. Nobody has to wait for it."""
        partition, topic = self._topic_of(group)
        self._groups[partition].pop(topic, None)
        if self.receives_here():
            self.receiver.readers[partition].unsubscribe(topic)

    def reader_of(self, group: str) -> Subscription:
        """The subscription to a group's server."""
        return self.receiver.readers[self._partitions.number_of(group)]

    async def tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
        """Publish to a process that one of its channels is to join or leave a group."""
        with contextlib.suppress(Unconfirmed):
            partition = self._partitions.number_of(group)
            await self._publish(partition, process, kind, group, channel.encode("ascii"))

    async def bind(self, group: str, channel: str, lease: float) -> None:
        """Add a named channel to a group, for ``lease`` seconds."""
        await self._change_named(group, channel, milliseconds(lease))

    async def unbind(self, group: str, channel: str) -> None:
        """Remove a named channel from a group."""
        await self._change_named(group, channel, 0)

    async def _change_named(self, group: str, channel: str, lease: int) -> None:
        partition = self._partitions.number_of(group)
        key = named_key(self._partitions.bases[partition], group)
        await self._senders.get().membership_changes[partition].make(key, channel, lease)

    # What is published (see subscription.Recipient)

    def published(self, partition: int, topic: bytes, data: bytes, patience: float) -> Late | None:
        """A message came, to a group or to this process."""
        group = self._groups[partition].get(topic)
        if group is None:
            if topic != self._own_topics[partition]:
                return None  # a group that was left meanwhile
            return self._told(partition, data, patience)
        if not data.startswith(UNSURE):
            return self._recipient.deliver_to_group(group, data, 0.0, patience)
        try:
            reason = self._notices.read(partition, data)
        except SerializationError:
            self.drop_rubbish()
            return None
        if reason is not None:
            self._local.announce_gap_to_group(group, reason)
        return None

    def _told(self, partition: int, data: bytes, patience: float) -> Late | None:
        """Something came for this process."""
        try:
            if data.startswith(TO_CHANNEL):
                name, _, content = data[1:].partition(b" ")
                if content.startswith(UNSURE):
                    self._told_of_loss(partition, name.decode("ascii"), content)
                    return None
            return self.received(data, patience)
        except (UnicodeDecodeError, InvalidNameError, SerializationError):
            self.drop_rubbish()
        return None

    def _told_of_loss(self, partition: int, channel: str, notice: bytes) -> None:
        if process_of(channel) != self._process:
            raise InvalidNameError(f"{channel} is no channel of this process")
        reason = self._notices.read(partition, notice)
        if reason is not None:
            self._local.announce_gap_to_channel(channel, reason)

    def subscription_lost(self, partition: int, reason: str) -> None:
        """The connection broke."""
        self._local.release_all()
        self._background.call(self._callbacks.on_disconnect)

    def subscription_restored(self, partition: int, reason: str) -> None:
        """The connection is repaired: consumers that may have missed a message are told, once."""

        def concerns(channel: str, groups: Collection[str]) -> bool:
            number_of = self._partitions.number_of
            return any(number_of(name) == partition for name in (channel, *groups))

        self._notices.repaired(partition)
        self._local.announce_gap(reason, concerns)
        self._background.call(self._callbacks.on_reconnect)

    # The whole

    async def delete_all(self) -> None:
        """Delete the layer's keys on every server."""
        await self._partitions.delete_keys()

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""
        await self.receiver.rest()
        await self.named.rest()
        sender = self._senders.peek()
        if sender is not None:
            await sender.rest()

    def connected_loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops that send."""
        return {loop for loop, _ in self._senders.all()}

    async def close_connections(self) -> None:
        """Stop to read queues and to send on the running event loop."""
        await self.named.aclose()
        sender = self._senders.pop()
        if sender is not None:
            await sender.aclose()

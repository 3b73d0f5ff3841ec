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
from ...broker.memberships import Memberships
from ...broker.process import process_of
from ...broker.receiver import Receiver, patiently
from ...broker.transport import Recipient
from ...local import Late
from ...statistics import CLOSED, UNDECODABLE
from ..connection.servers import ClusterServer, Server
from ..keys import (
    JOIN,
    LEAVE,
    NOTHING,
    TO_CHANNEL,
    UNSURE,
    group_topic,
    named_key,
    process_topic,
)
from ..partitions import Partitions, milliseconds
from ..queues.named import NamedChannels
from ..schedule import RedisSchedule
from ..states import States
from ..tokens import Tokens
from .callbacks import Background, Callbacks
from .notices import LossNotices
from .requests import PLAIN, SHARDED, Commands
from .subscription import Subscription

__all__ = ["UNCONFIRMED", "PubSubTransport"]

#: Why a message was dropped: the connection broke before the server confirmed that it had
#: published it. It may have arrived, so it is not sent again.
UNCONFIRMED = "unconfirmed"

#: Where rubbish was addressed to, in the log and in signals.
_OWN_TOPIC = "the process's topic"


class PubSubTransport:
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
        self._recipient = recipient
        self._local = recipient.local
        self._process = recipient.client_prefix
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
        #: What is to be sent later.
        self.schedule = RedisSchedule(self._partitions, self._local, schedule_capacity)
        #: The kind of pub/sub; None until the servers have been asked what they have.
        self.commands: Commands | None = SHARDED if sharded else PLAIN
        if sharded is None and isinstance(servers[0], ClusterServer):
            self.commands = None
        # The process's own topic on each server.
        self._own_topics = [process_topic(base, self._process).encode() for base in bases]
        #: What receives from the topics.
        self.receiver = Receiver(
            self._make_subscriptions, self._local.waiting_loops, self._is_needed
        )
        self.is_ready = self.receiver.is_ready
        self._memberships = Memberships(
            self._local,
            self.receiver.call_soon,
            join=self._subscribe,
            leave=self._unsubscribe,
            catch_up=self._subscribe,
        )
        self.emptied = self._memberships.emptied
        # The groups that the process is subscribed to, by topic, for each server.
        self._groups: list[dict[bytes, str]] = [{} for _ in servers]
        self._notices = LossNotices(self._partitions)
        self._background = Background()

    async def _get_commands(self) -> Commands:
        """The kind of pub/sub to use; a cluster is asked what it has."""
        if self.commands is None:
            (found,) = (
                await self._senders.get().connections[0].call("COMMAND", "INFO", SHARDED.subscribe)
            )
            self.commands = SHARDED if found else PLAIN
        return self.commands

    # Receiving

    async def ready(self) -> None:
        """Subscribe, unless this process is subscribed, and wait until it is."""
        if not self.receiver.is_ready():
            await self._get_commands()
            await self.receiver.be_ready()

    def _make_subscriptions(self) -> list[Subscription]:
        self._memberships.take_over()
        commands = self.commands or PLAIN  # which ready() has found out
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

    def _is_needed(self) -> bool:
        """Whether messages would be lost while this process does not listen."""
        return bool(self._memberships) or bool(self._local.waiting_loops())

    def _receives_here(self) -> bool:
        return self.receiver.loop is asyncio.get_running_loop()

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
        if subscriptions and not subscriptions[partition].up and self._receives_here():
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
        if subscriptions and not subscriptions[partition].up and self._receives_here():
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

    async def join(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group."""
        await self.receiver.run(lambda: self._join(group, channel))

    async def _join(self, group: str, channel: str) -> None:
        await self.ready()
        if not self._receives_here():  # another event loop was faster
            await self.join(group, channel)
            return
        await patiently(self._memberships.join(group, channel))

    def _topic_of(self, group: str) -> tuple[int, bytes]:
        """The number of the server that has a group, and its topic there."""
        partition = self._partitions.number_of(group)
        return partition, group_topic(self._partitions.bases[partition], group).encode()

    def _subscribe(self, group: str) -> "asyncio.Future[None]":
        """Subscribe to a group; done when what was published before has been handed over."""
        partition, topic = self._topic_of(group)
        self._groups[partition][topic] = group
        return self.receiver.readers[partition].subscribe(topic)

    def _unsubscribe(self, group: str) -> None:
        """Unsubscribe from a group. Nobody has to wait for it."""
        partition, topic = self._topic_of(group)
        self._groups[partition].pop(topic, None)
        if self._receives_here():
            self.receiver.readers[partition].unsubscribe(topic)

    async def leave(self, group: str, channel: str) -> None:
        """Remove a channel of this process from a group."""
        if self._local.is_member(group, channel):
            await self.receiver.run(lambda: self._leave(group, channel))

    async def _leave(self, group: str, channel: str) -> None:
        if self._receives_here():  # the channel gets what was published before
            subscription = self.receiver.readers[self._partitions.number_of(group)]
            await asyncio.shield(subscription.barrier())  # others wait for it, too
        await self._memberships.part(group, channel)

    async def invite(self, process: str, group: str, channel: str) -> None:
        """Ask another process, if it is there, to add one of its channels to a group."""
        await self._tell(process, JOIN, group, channel)

    async def dismiss(self, process: str, group: str, channel: str) -> None:
        """Ask another process, if it is there, to remove one of its channels from a group."""
        await self._tell(process, LEAVE, group, channel)

    async def _tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
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
            self._local.drop(UNDECODABLE, _OWN_TOPIC)
            return None
        if reason is not None:
            self._local.announce_gap_to_group(group, reason)
        return None

    def _told(self, partition: int, data: bytes, patience: float) -> Late | None:
        """Something came for this process."""
        head, _, content = data.partition(b" ")
        kind = head[:1]
        try:
            name = head[1:].decode("ascii")
            if kind == TO_CHANNEL:
                if not content.startswith(UNSURE):
                    return self._recipient.deliver_to_channel(name, content, 0.0, patience)
                if process_of(name) != self._process:
                    raise InvalidNameError(f"{name} is no channel of this process")
                reason = self._notices.read(partition, content)
                if reason is not None:
                    self._local.announce_gap_to_channel(name, reason)
            elif kind in (JOIN, LEAVE):
                self._obey(kind, name, content.decode("ascii"))
            elif data != NOTHING:
                self._local.drop(UNDECODABLE, _OWN_TOPIC)
        except (UnicodeDecodeError, InvalidNameError, SerializationError):
            self._local.drop(UNDECODABLE, _OWN_TOPIC)
        return None

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self._recipient.require_valid_group_name(group)
        self._recipient.require_valid_channel_name(channel)
        if process_of(channel) == self._process:
            change = self._join if kind == JOIN else self._leave
            self._background.start(change(group, channel))

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

    async def flush(self) -> None:
        """Forget every message, every group and every state."""
        await self.receiver.run(self._flush)

    async def _flush(self) -> None:
        if self._receives_here():
            for subscription in self.receiver.readers:
                subscription.hurry()
                await asyncio.shield(subscription.barrier())
        await self._local.flush()
        for group in self._memberships:
            self._memberships.emptied(group)
        self._memberships.leave_emptied()
        await self._partitions.delete_keys()

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""
        await self.receiver.rest()
        await self.named.rest()
        sender = self._senders.peek()
        if sender is not None:
            await sender.rest()

    async def aclose(self) -> None:
        """Stop receiving, and close every connection."""
        loops = {loop for loop, _ in self._senders.all()} | {self.receiver.loop}
        for loop in loops - {asyncio.get_running_loop()}:
            if loop is not None and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))
        await self._aclose()

    async def _aclose(self) -> None:
        """Let go of what belongs to this event loop."""
        await self.named.aclose()
        sender = self._senders.pop()
        if sender is not None:
            await sender.aclose()
        if self.receiver.loop in (None, asyncio.get_running_loop()):
            self._background.cancel()
            await self._local.flush()
            await self.receiver.stop()
            self._memberships.leave_all()

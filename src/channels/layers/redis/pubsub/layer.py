"""The Redis channel layer with the lowest latency: published to each process, kept nowhere.

A process subscribes once to its own topic and once to the topic of each group it has members in,
and hands what comes to their mailboxes. The server keeps no message, so what is published while
a process's connection is broken passes it by: it reconnects, subscribes again, and tells each
consumer concerned, once.
"""

import asyncio
import contextlib
import logging
import math
from collections.abc import Callable, Mapping, Sequence
from inspect import isawaitable
from re import Pattern
from typing import Any

from ...._runtime.clock import now
from ....exceptions import InvalidNameError
from ...local import Late
from ...mailbox import Mailbox, Overflow
from ...options import require_callback, require_flag
from ...serializers import Key
from ...statistics import CLOSED, UNDECODABLE
from ..connection.commands import Unconfirmed
from ..connection.errors import forget
from ..connection.servers import ClusterServer
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
from ..layer import RedisLayer
from .membership import GroupTopics
from .receiver import Reception
from .subscription import PLAIN, SHARDED, Commands

__all__ = ["UNCONFIRMED", "RedisPubSubChannelLayer"]

logger = logging.getLogger("channels.layers")

_Callback = Callable[[], object] | None

#: Why a message was dropped: the connection broke before the server confirmed that it had
#: published it. It may have arrived, so it is not sent again.
UNCONFIRMED = "unconfirmed"

# Seconds that a sender may notice a fault before those who receive do.
_SAME_FAULT = 1.0

#: Where rubbish was addressed to, in the log and in signals.
_OWN_TOPIC = "the process's topic"


class RedisPubSubChannelLayer(RedisLayer):
    """Carries messages between processes and machines through the pub/sub of Redis or Valkey.

    Faster than :class:`~channels.layers.redis.RedisChannelLayer`, with the same promises but one:
    messages published while a process's connection is broken are lost to its consumers. The layer
    repairs the connection by itself, and then calls each such consumer's handler ``layer_gap``
    once. A message whose own sending the break interrupted is not sent again, since it may have
    arrived, but counted as dropped (``"unconfirmed"``). So no message arrives twice.

    Named channels, such as workers read, are queues on the server and lose nothing.

    Args:
        hosts: where the servers are; see the reference. Names are spread over several.
        prefix: of all topics and keys.
        on_disconnect: called without arguments, and awaited if it is a coroutine function, when
            the connection that receives messages has broken; with several hosts, for each.
        on_reconnect: the same when it has been repaired.
        symmetric_encryption_keys: keys under which messages are encrypted: the first encrypts,
            all decrypt.
        serializer_format: ``"msgpack"``, ``"json"``, or what your project registered.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A connected consumer stays a member as long as it is connected.
        capacity: messages a channel holds.
        random_prefix_length: accepted for compatibility; without a meaning here.
        overflow: what a consumer's full channel does; see
            :class:`~channels.layers.InMemoryChannelLayer`.
        sharded: use sharded pub/sub, which needs Redis 7 or Valkey and pays off in a cluster. By
            default it is used in clusters that have it. All processes must agree.
    """

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        on_disconnect: _Callback = None,
        on_reconnect: _Callback = None,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        serializer_format: str = "msgpack",
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        random_prefix_length: int = 12,
        *,
        overflow: Overflow = "drop_newest",
        sharded: bool | None = None,
    ) -> None:
        require_callback("on_disconnect", on_disconnect)
        require_callback("on_reconnect", on_reconnect)
        require_flag("sharded", sharded)
        super().__init__(
            hosts, prefix, expiry, group_expiry, capacity, channel_capacity,
            symmetric_encryption_keys, serializer_format, overflow,
        )  # fmt: skip
        self.on_disconnect = on_disconnect
        self.on_reconnect = on_reconnect
        self._commands: Commands | None = SHARDED if sharded else PLAIN
        if sharded is None and isinstance(self.servers[0], ClusterServer):
            self._commands = None  # the servers are asked what they have

    def _begin(self) -> None:
        super()._begin()
        topics = [process_topic(base, self.client_prefix).encode() for base in self._bases]
        self._reception = Reception(
            self.servers, topics, self, self._get_commands, self._here.waiting_loops, self._probe
        )
        self._topics = GroupTopics(self._reception, self._bases, self._here)
        self._tasks: set[asyncio.Future[Any]] = set()
        # When the connection to each server that receives was last repaired, by our clock.
        self._repaired = [-math.inf] * len(self.servers)
        # Where it is to be told that messages may have been lost.
        self._unsure: set[tuple[str, bytes]] = set()

    # Sending

    def _members_key(self, group: str) -> str:
        return named_key(self._bases[self._partition(group)], group)

    async def _get_commands(self) -> Commands:
        """The kind of pub/sub to use; a cluster is asked what it has."""
        if self._commands is None:
            (found,) = (
                await self._outgoing.get().links[0].call("COMMAND", "INFO", SHARDED.subscribe)
            )
            self._commands = SHARDED if found else PLAIN
        return self._commands

    async def _send_to_process(self, process: str, channel: str, data: bytes) -> None:
        if process == self.client_prefix and not self._reception.is_ready():
            await self._reception.be_ready()
        partition = self._partition(channel)
        try:
            published = await self._publish(partition, process, TO_CHANNEL, channel, data)
            reason = None if published else CLOSED
        except Unconfirmed:
            reason = UNCONFIRMED
            topic = process_topic(self._bases[partition], process)
            self._tell_of_unsure(partition, topic, b"%b%b " % (TO_CHANNEL, channel.encode()))
        if reason is not None:
            self._drop(reason, channel)
            self._landed(channel)

    async def _publish(
        self, partition: int, process: str, kind: bytes, name: str, data: bytes
    ) -> int:
        """Publish to a process; whether it is there."""
        commands = self._commands or await self._get_commands()
        await self._reception.be_repaired(partition)
        topic = process_topic(self._bases[partition], process)
        content = b"%b%b %b" % (kind, name.encode("ascii"), data)
        link = self._outgoing.get().links[partition]
        receivers: int = await link.call(commands.publish, topic, content, repeat=False)
        if not receivers and not self.servers[partition].is_cluster:
            # Nobody has it. If this server has become a replica, they listen to another one.
            receivers = await link.run("tell", [topic], [commands.publish, content], repeat=False)
        return receivers

    def _probe(self, partition: int, commands: Commands) -> "asyncio.Future[int]":
        """Publish something to this process; the future gets on how many connections it is heard.

        It goes the way of all that is sent, and is refused where the server has become a replica.
        """
        topic = self._reception.own_topics[partition]
        link = self._outgoing.get().links[partition]
        return link.run("tell", [topic.decode()], [commands.publish, NOTHING], repeat=False)

    async def _group_send(self, group: str, data: bytes) -> None:
        commands = self._commands or await self._get_commands()
        partition = self._partition(group)
        await self._reception.be_repaired(partition)
        try:
            named = await self._outgoing.get().links[partition].run(
                "publish",
                [group_topic(self._bases[partition], group), self._members_key(group)],
                [commands.publish, self._sealed("group", group, data)],
                repeat=False,
            )  # fmt: skip
        except Unconfirmed:
            self._drop(UNCONFIRMED, group)
            self._tell_of_unsure(partition, group_topic(self._bases[partition], group))
            return
        if named:
            await self._enqueue_each(named, data)

    def _tell_of_unsure(self, partition: int, topic: str, head: bytes = b"") -> None:
        """Let those who listen to a topic know, soon, that a message to them may have been lost."""
        link, since, about = self._outgoing.get().links[partition], now(), (topic, head)

        def publish(connected: "asyncio.Future[Any]") -> None:
            self._unsure.discard(about)
            commands = self._commands
            if connected.cancelled() or connected.exception() or commands is None:
                return
            content = b"%b%b%.1f" % (head, UNSURE, now() - since)
            link.call(commands.publish, topic, content).add_done_callback(forget)

        if about not in self._unsure:
            self._unsure.add(about)
            link.call("PING").add_done_callback(publish)

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Let ``channel`` have what is sent to ``group`` from now on.

        For a channel of another process it is that process which joins, soon after.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process = self._process_of(channel)
        if process == self.client_prefix:
            await self._reception.run(lambda: self._topics.join(group, channel))
        elif process is None:
            lease = self._milliseconds(self.group_expiry)
            await self._off_passing_loop(self._change_named(group, channel, lease))
        else:
            await self._off_passing_loop(self._tell(process, JOIN, group, channel))

    async def _change_named(self, group: str, channel: str, lease: int) -> None:
        """Let a named channel be in a group for ``lease`` milliseconds, or not, with 0."""
        changes = self._outgoing.get().changes[self._partition(group)]
        await changes.make(self._members_key(group), channel, lease)

    async def _tell(self, process: str, kind: bytes, group: str, channel: str) -> None:
        """Have another process let one of its channels join or leave; if it is gone, so be it."""
        with contextlib.suppress(Unconfirmed):
            partition = self._partition(group)
            await self._publish(partition, process, kind, group, channel.encode("ascii"))

    async def group_discard(self, group: str, channel: str) -> None:
        """Let ``channel`` have it no longer. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process = self._process_of(channel)
        if process == self.client_prefix:
            if self._here.is_member(group, channel):
                await self._reception.run(lambda: self._topics.part(group, channel))
        elif process is None:
            await self._off_passing_loop(self._change_named(group, channel, 0))
        else:
            await self._off_passing_loop(self._tell(process, LEAVE, group, channel))

    def _group_emptied(self, group: str) -> None:
        self._topics.emptied(group)
        self._reception.call_soon(self._topics.leave_emptied)

    # What is published (see subscription.Recipient)

    def _is_receiving(self) -> bool:
        return self._reception.is_ready()

    async def _receiving(self) -> None:
        await self._reception.be_ready()

    def published(self, partition: int, topic: bytes, data: bytes, patience: float) -> Late | None:
        """A message came, to a group or to this process."""
        group = self._reception.groups[partition].get(topic)
        if group is not None:
            if data.startswith(UNSURE):
                self._may_have_missed(partition, data, self._here.members(group))
                return None
            return self._deliver(group, data, patience=patience, to_group=True)
        if topic != self._reception.own_topics[partition]:
            return None  # a group that was left meanwhile
        head, _, content = data.partition(b" ")
        kind = head[:1]
        try:
            name = head[1:].decode("ascii")
            if kind == TO_CHANNEL:
                if self._process_of(name) != self.client_prefix:
                    raise InvalidNameError(f"{name} is no channel of this process")
                if content.startswith(UNSURE):
                    self._may_have_missed(partition, content, self._here.named(name))
                    return None
                self._landed(name)
                return self._deliver(name, content, patience=patience, to_group=False)
            if kind in (JOIN, LEAVE):
                self._obey(kind, name, content.decode("ascii"))
            elif data != NOTHING:
                self._drop(UNDECODABLE, _OWN_TOPIC)
        except (UnicodeDecodeError, InvalidNameError):
            self._drop(UNDECODABLE, _OWN_TOPIC)
        return None

    def _may_have_missed(self, partition: int, notice: bytes, mailboxes: list[Mailbox]) -> None:
        """Tell consumers that a sender cannot know whether they got its message.

        Unless the same fault concerned this process, which has told all then.
        """
        try:
            broke = now() - float(notice.removeprefix(UNSURE))
        except ValueError:
            self._drop(UNDECODABLE, _OWN_TOPIC)
            return
        if self._repaired[partition] < broke - _SAME_FAULT:
            for mailbox in mailboxes:
                mailbox.announce_gap("the connection of a sender broke before the broker answered")

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if self._process_of(channel) == self.client_prefix:
            change = self._topics.join if kind == JOIN else self._topics.part
            self._start(change(group, channel))

    def subscription_lost(self, partition: int, reason: str) -> None:
        """The connection broke."""
        self._in_flight.clear()
        self._call(self.on_disconnect)

    def subscription_restored(self, partition: int, reason: str) -> None:
        """It is repaired: whoever may have missed a message is told, once."""
        self._repaired[partition] = now()
        for mailbox, groups in self._here.mailboxes():
            if any(self._partition(name) == partition for name in (mailbox.channel, *groups)):
                mailbox.announce_gap(reason)
        self._call(self.on_reconnect)

    def _call(self, callback: _Callback) -> None:
        if callback is None:
            return
        try:
            result = callback()
        except Exception:
            logger.exception("%r failed", callback)
            return
        if isawaitable(result):
            self._start(result)

    def _start(self, awaitable: Any) -> None:
        """Have it done in the background; an error is logged."""
        task = asyncio.ensure_future(awaitable)
        self._tasks.add(task)
        task.add_done_callback(self._finished)

    def _finished(self, task: "asyncio.Future[Any]") -> None:
        self._tasks.discard(task)
        if not task.cancelled() and task.exception() is not None:
            logger.error("What the broker's news led to has failed", exc_info=task.exception())

    # The whole

    async def flush(self) -> None:
        """Forget every message and every group. Consumers stay connected."""
        await self._reception.run(self._flush)

    async def _flush(self) -> None:
        for subscription in self._reception.subscriptions:
            subscription.hurry()
            await subscription.barrier()
        await self._here.flush()
        self._in_flight.clear()
        for groups in self._reception.groups:
            for group in list(groups.values()):
                self._topics.leave_if_empty(group)
        await self._delete_keys()

    async def _rest(self) -> None:
        await self._reception.rest()

    async def aclose(self) -> None:
        """Stop receiving, and close every connection; see :class:`RedisLayer`."""
        loops = {loop for loop, _ in self._outgoing.all()} | {self._reception.loop}
        for loop in loops - {asyncio.get_running_loop()}:
            if loop is not None and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))
        await self._aclose()

    async def _aclose(self) -> None:
        """Let go of what belongs to this event loop."""
        for queue in (self._queues.pop() or {}).values():
            await queue.aclose()
        outgoing = self._outgoing.pop()
        if outgoing is not None:
            await outgoing.aclose()
        if self._reception.loop in (None, asyncio.get_running_loop()):
            for task in list(self._tasks):
                task.cancel()
            await self._here.flush()
            self._topics.clear()
            await self._reception.stop()

"""The Redis channel layer: one inbox stream for each process, read without a gap.

A process appends what it sends to the inboxes of the processes concerned, in one script per
message, and reads its own inbox with blocking ``XREAD`` from the last entry it saw. So a broken
connection neither loses nor repeats anything, and what a group message costs the server depends
on the number of processes, not on that of members: each process hands it to its own.
"""

import asyncio
import logging
from collections.abc import Iterable, Mapping, Sequence
from re import Pattern
from typing import Any, ClassVar

from ....exceptions import ChannelFull, InvalidNameError
from ...base import BaseChannelLayer
from ...local import Late
from ...mailbox import Overflow
from ...options import LONGEST, require_count, require_duration
from ...serializers import Key
from ...statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE
from ..connection.errors import forget
from ..keys import (
    JOIN,
    LEAVE,
    NOTHING,
    TO_CHANNEL,
    TO_GROUP,
    group_key,
    inbox_key,
    process_member,
    queue_member,
)
from ..layer import RedisLayer
from .inbox import InboxReader
from .membership import Membership
from .receiver import Receiver

__all__ = ["RedisChannelLayer"]

logger = logging.getLogger("channels.layers")

# Seconds for which a process, and its memberships, outlive the last sign of life. It gives one
# every third of that.
LEASE = 60.0

# Messages that may wait for one process. Each channel's own capacity counts when they arrive.
INBOX_CAPACITY = 10_000


class RedisChannelLayer(RedisLayer):
    """Carries messages between processes and machines through Redis or Valkey.

    Args:
        hosts: where the servers are; see the reference. Names are spread over several.
        prefix: of all keys.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A connected consumer stays a member as long as it is connected.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        symmetric_encryption_keys: keys under which messages are encrypted: the first encrypts,
            all decrypt.
        random_prefix_length: accepted for compatibility. Equal messages are kept apart as they are.
        serializer_format: ``"msgpack"``, ``"json"``, or what your project registered.
        overflow: what a consumer's full channel does; see
            :class:`~channels.layers.InMemoryChannelLayer`.
        inbox_capacity: messages that may wait for one process, beyond which they are dropped and
            counted.
        lease: seconds after its last sign of life for which the server keeps what is a process's.
    """

    limits: ClassVar[tuple[str, ...]] = (*RedisLayer.limits, "inbox_capacity", "lease")

    def __init__(
        self,
        hosts: Any = None,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        random_prefix_length: int = 12,
        serializer_format: str = "msgpack",
        *,
        overflow: Overflow = "drop_newest",
        inbox_capacity: int = INBOX_CAPACITY,
        lease: float = LEASE,
    ) -> None:
        require_count("inbox_capacity", inbox_capacity)
        require_duration("lease", lease)
        self.inbox_capacity = inbox_capacity
        self.lease = lease
        super().__init__(
            hosts, prefix, expiry, group_expiry, capacity, channel_capacity,
            symmetric_encryption_keys, serializer_format, overflow,
        )  # fmt: skip

    def _begin(self) -> None:
        """Be a process of its own, with nothing open. Again after a fork."""
        super()._begin()
        self._membership = Membership(
            self.client_prefix,
            self._bases,
            self._milliseconds(self.lease),
            self._outgoing,
            self._here.has_members,
        )
        self._receiver = Receiver(
            self._make_readers,
            min(self.lease, LONGEST),
            self._membership,
            self._outgoing,
            self._here.waiting_loops,
        )

    def _make_readers(self) -> list[InboxReader]:
        return [
            InboxReader(
                server,
                number,
                base,
                self.client_prefix,
                min(self.lease, LONGEST),
                self,
                self.inbox_capacity,
            )
            for number, (server, base) in enumerate(zip(self.servers, self._bases, strict=True))
        ]

    def _group_key(self, group: str) -> str:
        return group_key(self._bases[self._partition(group)], group)

    # Sending

    async def _send_to_process(self, process: str, channel: str, data: bytes) -> None:
        partition = self._partition(channel)
        inbox = inbox_key(self._bases[partition], process)
        taken = await self._outgoing.get().append(
            partition, "send", [inbox],
            TO_CHANNEL + channel.encode("ascii"), data, self.inbox_capacity,
        )  # fmt: skip
        if taken == 0:
            self._drop(CLOSED, channel)
            self._landed(channel)
        elif taken < 0:
            raise ChannelFull(
                f"The process of channel {channel} has {self.inbox_capacity} messages to read, "
                "which is as many as its inbox holds"
            )

    async def _group_send(self, group: str, data: bytes) -> None:
        partition = self._partition(group)
        base = self._bases[partition]
        _, full, expired, *elsewhere = await self._outgoing.get().append(
            partition, "group_send", [group_key(base, group)],
            base, TO_GROUP + group.encode("ascii"),
            data if self._seal is None else self._sealed("group", group, data),
            self.inbox_capacity, self._milliseconds(self.expiry), self._queue_capacity(),
        )  # fmt: skip
        if full:
            self._drop(CAPACITY, group, full)
        if expired:
            self._drop(EXPIRED, group, expired)
        if elsewhere:
            await self._enqueue_each(elsewhere, data)

    def _queue_capacity(self) -> int:
        """The capacity of every named channel, or -1 if each is to be sent to by itself."""
        if self._seal is not None or self.channel_capacity:
            return -1
        own = type(self).get_capacity is not BaseChannelLayer.get_capacity
        return -1 if own else self.capacity

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Let ``channel`` have what is sent to ``group`` from now on."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._receiver.run(lambda: self._group_add(group, channel))

    async def _group_add(self, group: str, channel: str) -> None:
        process = self._process_of(channel)
        if process == self.client_prefix:
            await self._receiver.be_ready()
            self._here.join(group, channel)
            try:
                await self._membership.join(group)
            except Exception:
                self._here.part(group, channel)
                raise
        elif process is None:
            await self._change_named(group, channel, self._milliseconds(self.group_expiry))
        else:
            await self._tell(process, JOIN, group, channel, self._milliseconds(self.lease))

    async def _change_named(self, group: str, channel: str, lease: int) -> None:
        """Let a named channel be in a group for ``lease`` milliseconds, or not, with 0."""
        partition = self._partition(group)
        # See the script ``group_send``.
        member = queue_member(channel, same_partition=self._partition(channel) == partition)
        changes = self._outgoing.get().changes[partition]
        await changes.make(self._group_key(group), member, lease)

    async def _tell(self, process: str, kind: bytes, group: str, channel: str, lease: int) -> None:
        """Have another process let one of its channels join or leave."""
        partition = self._partition(group)
        inbox = inbox_key(self._bases[partition], process)
        await self._outgoing.get().append(
            partition, "invite", [self._group_key(group), inbox],
            process_member(process), lease, kind + group.encode("ascii"), channel,
        )  # fmt: skip

    async def group_discard(self, group: str, channel: str) -> None:
        """Let ``channel`` have it no longer. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._receiver.run(lambda: self._group_discard(group, channel))

    async def _group_discard(self, group: str, channel: str) -> None:
        process = self._process_of(channel)
        if process == self.client_prefix:
            self._here.part(group, channel)
            leaving = self._membership.leave_emptied()
            if leaving:  # even if the caller gives up
                await asyncio.wait(leaving)
            for left in leaving:
                left.result()
        elif process is None:
            await self._change_named(group, channel, 0)
        else:
            await self._tell(process, LEAVE, group, channel, 0)

    def _group_emptied(self, group: str) -> None:
        if self._membership.emptied(group):
            self._receiver.call_soon(self._membership.leave_emptied)

    # What the inbox brings (see inbox.Recipient)

    def inbox_received(self, field: bytes, data: bytes, age: float, patience: float) -> Late | None:
        """An entry came, from another process or from who knows where."""
        kind = field[:1]
        try:
            name = field[1:].decode("ascii")
            if kind == TO_GROUP:
                if self._here.has_members(name):
                    return self._deliver(name, data, age, patience, to_group=True)
            elif kind == TO_CHANNEL:
                if self._process_of(name) != self.client_prefix:
                    raise InvalidNameError(f"{name} is no channel of this process")
                self._landed(name)
                return self._deliver(name, data, age, patience, to_group=False)
            elif kind in (JOIN, LEAVE):
                self._obey(kind, name, data.decode("ascii"))
            elif kind != NOTHING:
                self._drop(UNDECODABLE, "the process's inbox")
        except (UnicodeDecodeError, InvalidNameError):
            self._drop(UNDECODABLE, "the process's inbox")
        return None

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if kind == JOIN:
            self._here.join(group, channel)
            # It is a member; but it may have left after it was invited.
            self._membership.start_joining(group)
        else:
            self._here.part(group, channel)

    def inbox_read(self, partition: int, last: str) -> None:
        """Entries before ``last`` are no longer needed."""
        self._receiver.trim(partition, last)

    def inbox_lost(self, partition: int, reason: str) -> None:
        """Messages may have been lost: whoever may have missed one is told, once."""
        self._in_flight.clear()
        for mailbox, _ in self._here.mailboxes():
            mailbox.announce_gap(reason)

    def inbox_overflowed(self, partition: int, count: int) -> None:
        """The inbox had no room for some group messages: every member may have missed one."""
        self._drop(CAPACITY, "the process's inbox", count)
        for mailbox, groups in self._here.mailboxes():
            if any(self._partition(group) == partition for group in groups):
                mailbox.announce_gap("the inbox was full")

    def inbox_groups(self, partition: int) -> Iterable[str]:
        """The keys of the groups that the process is a member of."""
        return self._membership.keys(partition)

    def inbox_groups_missing(self, partition: int, keys: list[bytes]) -> None:
        """A server lost the keys of groups: members here may have missed messages, and are told."""
        lost = self._membership.forgotten(partition, keys)
        if not lost:
            return
        logger.warning(
            "Messages to %d groups may have been lost, such as %s: the server had lost their "
            "members. If it evicts keys, set its maxmemory-policy to noeviction",
            len(lost),
            min(lost),
        )
        for mailbox, groups in self._here.mailboxes():
            if not lost.isdisjoint(groups):
                mailbox.announce_gap("a group was gone")

    def _is_receiving(self) -> bool:
        return self._receiver.is_ready()

    async def _receiving(self) -> None:
        await self._receiver.be_ready()

    # The whole

    async def flush(self) -> None:
        """Forget every message and every group. Consumers stay connected."""
        await self._receiver.run(self._flush)

    async def _flush(self) -> None:
        for reader in self._receiver.readers:
            reader.hurry()
        await self._here.flush()
        self._membership.clear()
        self._in_flight.clear()
        await self._delete_keys(but=self._receiver.kept_keys)
        # The last entry stays, for the reader to go on from.
        for link, inbox in zip(self._outgoing.get().links, self._receiver.inboxes, strict=False):
            link.call("XADD", inbox, "NOMKSTREAM", "*", NOTHING, b"").add_done_callback(forget)
            await link.call("XTRIM", inbox, "MAXLEN", 1)

    async def _rest(self) -> None:
        await self._receiver.rest()

    async def aclose(self) -> None:
        """Stop reading, let others know, and close every connection; see :class:`RedisLayer`."""
        here = asyncio.get_running_loop()
        await self._aclose()
        for loop, _ in self._outgoing.all():
            if loop is not here and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))

    async def _aclose(self) -> None:
        await asyncio.gather(*(queue.aclose() for queue in (self._queues.pop() or {}).values()))
        outgoing = self._outgoing.peek()
        if self._receiver.loop is asyncio.get_running_loop():
            await self._receiver.stop()
            await self._here.flush()
            self._membership.leave_all()
            outgoing = self._outgoing.get()
        if outgoing is not None:
            self._outgoing.pop()
            await outgoing.aclose()

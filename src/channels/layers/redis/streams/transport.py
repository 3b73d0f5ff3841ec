"""Redis streams as a transport: one inbox for each process, read without a gap.

A process appends what it sends to the inboxes of the processes concerned, in one script per
message, and reads its own inbox with blocking ``XREAD`` from the last entry it saw. So a broken
connection neither loses nor repeats anything, and what a group message costs the server depends
on the number of processes, not on that of members: each process hands it to its own.
"""

import asyncio
import logging
from collections.abc import Collection, Iterable

from ...._runtime.backstage import ignore_failure
from ....exceptions import ChannelFull, InvalidNameError
from ...broker.memberships import Memberships
from ...broker.receiver import Receiver
from ...broker.transport import Recipient
from ...local import Late
from ...options import LONGEST
from ...statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE
from ..connection.servers import Server
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
from ..partitions import Partitions, milliseconds
from ..places import Places
from ..queues.named import NamedChannels
from ..schedule import RedisSchedule
from ..states import States
from ..tokens import Tokens
from .inbox import InboxReader

__all__ = ["StreamsTransport"]

logger = logging.getLogger("channels.layers")

_INBOX = "the process's inbox"


class StreamsTransport:
    """Carries messages through inboxes; see :class:`~channels.layers.broker.transport.Transport`.

    Args:
        recipient: the layer.
        servers: one for each partition.
        bases: what all keys of a partition begin with.
        lease: seconds after its last sign of life for which a process is a member of its groups.
        inbox_capacity: messages that may wait for one process.
        schedule_capacity: messages that may be scheduled in each partition.
    """

    def __init__(
        self,
        recipient: Recipient,
        servers: list[Server],
        bases: list[str],
        lease: float,
        inbox_capacity: int,
        schedule_capacity: int,
    ) -> None:
        self._recipient = recipient
        self._local = recipient.local
        self._process = recipient.client_prefix
        self._lease = lease
        self._inbox_capacity = inbox_capacity
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
        #: What reads the inboxes.
        self.receiver = Receiver(self._make_readers, self._local.waiting_loops)
        self.is_ready, self.ready = self.receiver.is_ready, self.receiver.be_ready
        member = process_member(self._process)
        self._memberships = Memberships(
            self._local,
            self.receiver.call_soon,
            join=lambda group: self._change(group, member, milliseconds(lease)),
            leave=lambda group: self._change(group, member, 0),
        )
        self.emptied = self._memberships.emptied

    def _make_readers(self) -> list[InboxReader]:
        self._memberships.take_over()
        lease, partitions = min(self._lease, LONGEST), self._partitions
        connections = self._senders.get().connections
        return [
            InboxReader(
                server, connections[number], number, base, self._process, lease, self,
                self._inbox_capacity,
            )
            for number, (server, base) in enumerate(
                zip(partitions.servers, partitions.bases, strict=True)
            )
        ]  # fmt: skip

    # Sending

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        """Append to the inbox of a process."""
        partition = self._partitions.number_of(channel)
        inbox = inbox_key(self._partitions.bases[partition], process)
        taken = await self._senders.get().connections[partition].append(
            "send", [inbox],
            TO_CHANNEL + channel.encode("ascii"), data, self._inbox_capacity,
        )  # fmt: skip
        if taken < 0:
            raise ChannelFull(
                f"The process of channel {channel} has {self._inbox_capacity} messages to read, "
                "which is as many as its inbox holds"
            )
        return None if taken else CLOSED

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> Iterable[str]:
        """Append to the inboxes of a group's processes, and to the queues beside it."""
        partition = self._partitions.number_of(group)
        base = self._partitions.bases[partition]
        key = group_key(base, group)
        loop, sender = self._senders.latest
        if sender is None or loop is not asyncio.get_running_loop():
            sender = self._senders.get()
        _, full, expired, *elsewhere = await sender.connections[partition].append(
            "group_send", [key], base,
            TO_GROUP + group.encode("ascii"), data, self._inbox_capacity, milliseconds(expiry),
            -1 if capacity is None else capacity,
        )  # fmt: skip
        if full:
            self._local.drop(CAPACITY, group, full)
        if expired:
            self._local.drop(EXPIRED, group, expired)
        return [name.decode("ascii", "replace") for name in elsewhere] if elsewhere else ()

    # Groups

    async def join(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group."""
        await self.receiver.run(lambda: self._join(group, channel))

    async def _join(self, group: str, channel: str) -> None:
        await self.receiver.be_ready()
        if self.receiver.loop is not asyncio.get_running_loop():  # another one was faster
            await self.join(group, channel)
            return
        await self._memberships.join(group, channel)

    async def leave(self, group: str, channel: str) -> None:
        """Remove a channel of this process from a group."""
        await self.receiver.run(lambda: self._memberships.part(group, channel))

    async def invite(self, process: str, group: str, channel: str) -> None:
        """Ask another process to add one of its channels to a group."""
        await self._tell(process, JOIN, group, channel, milliseconds(self._lease))

    async def dismiss(self, process: str, group: str, channel: str) -> None:
        """Ask another process to remove one of its channels from a group."""
        await self._tell(process, LEAVE, group, channel, 0)

    async def _tell(self, process: str, kind: bytes, group: str, channel: str, lease: int) -> None:
        partition = self._partitions.number_of(group)
        base = self._partitions.bases[partition]
        await self._senders.get().connections[partition].append(
            "invite", [group_key(base, group), inbox_key(base, process)],
            process_member(process), lease, kind + group.encode("ascii"), channel,
        )  # fmt: skip

    async def bind(self, group: str, channel: str, lease: float) -> None:
        """Add a named channel to a group, for ``lease`` seconds."""
        await self._change(group, self._named_member(group, channel), milliseconds(lease))

    async def unbind(self, group: str, channel: str) -> None:
        """Remove a named channel from a group."""
        await self._change(group, self._named_member(group, channel), 0)

    def _named_member(self, group: str, channel: str) -> str:
        """What stands for a named channel in a group."""
        number_of = self._partitions.number_of
        return queue_member(channel, same_partition=number_of(channel) == number_of(group))

    def _change(self, group: str, member: str, lease: int) -> "asyncio.Future[None]":
        """Make a process or a queue a member of a group for some milliseconds; 0 ends that."""
        partition = self._partitions.number_of(group)
        key = group_key(self._partitions.bases[partition], group)
        return self._senders.get().membership_changes[partition].make(key, member, lease)

    # What the inbox brings (see inbox.Recipient)

    def inbox_received(self, field: bytes, data: bytes, age: float, patience: float) -> Late | None:
        """An entry came, from another process or from anybody else."""
        kind = field[:1]
        try:
            name = field[1:].decode("ascii")
            if kind == TO_GROUP:
                return self._recipient.deliver_to_group(name, data, age, patience)
            if kind == TO_CHANNEL:
                return self._recipient.deliver_to_channel(name, data, age, patience)
            if kind in (JOIN, LEAVE):
                self._obey(kind, name, data.decode("ascii"))
            elif kind != NOTHING:
                self._local.drop(UNDECODABLE, _INBOX)
        except (UnicodeDecodeError, InvalidNameError):
            self._local.drop(UNDECODABLE, _INBOX)
        return None

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self._recipient.require_valid_group_name(group)
        self._recipient.require_valid_channel_name(channel)
        if kind == JOIN:
            self._local.join(group, channel)
            # It is a member; but it may have left after it was invited.
            self._memberships.start_joining(group)
        else:
            self._local.part(group, channel)

    def inbox_lost(self, partition: int, reason: str) -> None:
        """Messages may have been lost: every consumer is told, once."""
        self._local.release_all()
        self._local.announce_gap(reason)

    def inbox_overflowed(self, partition: int, count: int) -> None:
        """The inbox had no room for some group messages: every member may have missed one."""

        def concerns(channel: str, groups: Collection[str]) -> bool:
            return any(self._partitions.number_of(group) == partition for group in groups)

        self._local.drop(CAPACITY, _INBOX, count)
        self._local.announce_gap("the inbox was full", concerns)

    def inbox_groups(self, partition: int) -> Iterable[str]:
        """The keys of the groups that the process is a member of, unless it has left meanwhile."""
        base, number_of = self._partitions.bases[partition], self._partitions.number_of
        for group in self._memberships:
            if number_of(group) == partition and group in self._memberships:
                yield group_key(base, group)

    def inbox_groups_missing(self, partition: int, keys: list[bytes]) -> None:
        """A server lost the keys of groups: members here may have missed messages, and are told."""
        start = len(group_key(self._partitions.bases[partition], ""))
        lost = self._memberships.forgotten(key.decode("ascii")[start:] for key in keys)
        if not lost:
            return
        logger.warning(
            "Messages to %d groups may have been lost, such as %s: the server had lost their "
            "members. If it evicts keys, set its maxmemory-policy to noeviction",
            len(lost),
            min(lost),
        )
        self._local.announce_gap(
            "a group was gone", lambda channel, groups: not lost.isdisjoint(groups)
        )

    # The whole

    async def flush(self) -> None:
        """Forget every message, every group and every state."""
        await self.receiver.run(self._flush)

    async def _flush(self) -> None:
        for reader in self.receiver.readers:
            reader.hurry()
        await self._local.flush()
        self._memberships.clear()
        leases = [reader.lease for reader in self.receiver.readers]
        kept = [key for lease in leases for key in (lease.inbox, lease.lost)]
        await self._partitions.delete_keys(but=kept)
        # The last entry stays, for the reader to go on from.
        for connection, lease in zip(self._senders.get().connections, leases, strict=False):
            mark = connection.call("XADD", lease.inbox, "NOMKSTREAM", "*", NOTHING, b"")
            mark.add_done_callback(ignore_failure)
            await connection.call("XTRIM", lease.inbox, "MAXLEN", 1)

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""
        await self.receiver.rest()
        await self.named.rest()
        sender = self._senders.peek()
        if sender is not None:
            await sender.rest()

    async def aclose(self) -> None:
        """Stop reading, let others know, and close every connection."""
        here = asyncio.get_running_loop()
        await self._aclose()
        for loop, _ in self._senders.all():
            if loop is not here and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))

    async def _aclose(self) -> None:
        """Let go of what belongs to this event loop."""
        await self.named.aclose()
        sender = self._senders.peek()
        if self.receiver.loop in (None, asyncio.get_running_loop()):
            leases = [reader.lease for reader in self.receiver.readers]
            await self.receiver.stop()
            await self._local.flush()
            if leases:
                sender = self._senders.get()
                self._memberships.leave_all()
                for connection, lease in zip(sender.connections, leases, strict=True):
                    # Closing the connection waits for it. A lease that ends does the same.
                    removed = connection.call("UNLINK", lease.inbox, lease.lost)
                    removed.add_done_callback(ignore_failure)
        if sender is not None:
            self._senders.pop()
            await sender.aclose()

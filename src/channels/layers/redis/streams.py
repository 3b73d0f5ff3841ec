"""The Redis channel layer: one inbox stream for each process, read without a gap.

A process appends what it sends to the inboxes of the processes concerned, in one script per
message, and reads its own inbox with blocking ``XREAD`` from the last entry it saw. So a broken
connection neither loses nor repeats anything, and what a group message costs the server depends
on the number of processes, not on that of members: each process hands it to its own.
"""

import asyncio
import contextlib
import logging
import threading
import time
from collections import deque
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from re import Pattern
from typing import Any, TypeVar

from ...exceptions import ChannelFull, InvalidNameError, SerializationError
from ..mailbox import Overflow
from ..messages import snapshot
from ..serializers import Key
from ..statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE
from .common import RedisLayer
from .errors import forget
from .inbox import InboxReader
from .link import PATIENCE, BrokerUnavailable
from .outgoing import Outgoing
from .succession import LoopEnded, across, hand_over

__all__ = ["RedisChannelLayer"]

logger = logging.getLogger("channels.layers")

_T = TypeVar("_T")

# Seconds for which a process, and its memberships, outlive the last sign of life. It gives one
# every third of that.
LEASE = 60.0

# Messages that may wait for one process. Each channel's own capacity counts when they arrive.
INBOX_CAPACITY = 10_000

# The first byte of an inbox entry's field; the name of a group or a channel follows.
_TO_GROUP, _TO_CHANNEL, _JOIN, _LEAVE = b"g", b"c", b"j", b"l"

# Groups left in one go when the layer is closed, and seconds that the server may take for it.
_CHUNK, _SIGN_OFF = 1000, 2.0

# An entry that says nothing: an inbox is made with one.
_NOTHING = b"h"


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
        self.inbox_capacity = inbox_capacity
        self.lease = lease
        super().__init__(
            hosts, prefix, expiry, group_expiry, capacity, channel_capacity,
            symmetric_encryption_keys, serializer_format, overflow,
        )  # fmt: skip

    def _begin(self) -> None:
        """Be a process of its own, with nothing open. Again after a fork."""
        super()._begin()
        self._readers: list[InboxReader] = []
        self._starting = threading.Lock()
        self._reading_loop: asyncio.AbstractEventLoop | None = None
        self._keeper: asyncio.Task[None] | None = None
        # The groups that the process is a member of; a future while it is about to be.
        self._joined: dict[str, asyncio.Future[Any] | None] = {}
        # Those that the last member here has left, for the process to leave too.
        self._emptied: deque[str] = deque()

    def _group_key(self, group: str) -> str:
        return f"{self._bases[self._partition(group)]}:group:{group}"

    # Sending

    async def _send_to_process(self, process: str, channel: str, data: bytes) -> None:
        partition = self._partition(channel)
        inbox = f"{self._bases[partition]}:inbox:{process}"
        taken = await self._outgoing.get().append(
            partition, "send", [inbox], f"c{channel}", data, self.inbox_capacity
        )
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
            partition, "group_send", [f"{base}:group:{group}"], base, f"g{group}", data,
            self.inbox_capacity, self._milliseconds(self.expiry),
        )  # fmt: skip
        if full:
            self._drop(CAPACITY, group, full)
        if expired:
            self._drop(EXPIRED, group, expired)
        for member in elsewhere:
            capacity, _, channel = member.decode("ascii").partition(":")
            if not await self._enqueue(channel, data, int(capacity)):
                self._drop(CAPACITY, channel)

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Let ``channel`` have what is sent to ``group`` from now on."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._on_reading_loop(lambda: self._group_add(group, channel))

    async def _group_add(self, group: str, channel: str) -> None:
        process = self._process_of(channel)
        if process == self.client_prefix:
            await self._receiving()
            self._here.join(group, channel)
            try:
                await self._join(group)
            except Exception:
                self._here.part(group, channel)
                raise
        elif process is None:
            link = self._outgoing.get().links[self._partition(group)]
            arguments = [self._named_member(group, channel), self._milliseconds(self.group_expiry)]
            await link.run("join", [self._group_key(group)], arguments)
        else:
            await self._tell(process, _JOIN, group, channel, self._milliseconds(self.lease))

    def _named_member(self, group: str, channel: str) -> str:
        """What stands for a named channel in a group; see the script ``group_send``."""
        kind = "q" if self._partition(channel) == self._partition(group) else "r"
        return f"{kind}:{self.get_capacity(channel)}:{channel}"

    async def _join(self, group: str) -> None:
        """Make this process a member, unless it is one, and wait until it is."""
        if group not in self._joined:
            self._start_joining(group)
        pending = self._joined[group]
        if pending is not None:
            await asyncio.shield(pending)

    def _start_joining(self, group: str) -> None:
        def settle(pending: "asyncio.Future[Any]") -> None:
            failed = pending.cancelled() or pending.exception()
            if self._joined.get(group) is pending:
                if failed:
                    del self._joined[group]
                else:
                    self._joined[group] = None

        link = self._outgoing.get().links[self._partition(group)]
        arguments = [f"p:{self.client_prefix}", self._milliseconds(self.lease)]
        self._joined[group] = pending = link.run("join", [self._group_key(group)], arguments)
        pending.add_done_callback(settle)

    async def _tell(self, process: str, kind: bytes, group: str, channel: str, lease: int) -> None:
        """Have another process let one of its channels join or leave."""
        partition = self._partition(group)
        inbox = f"{self._bases[partition]}:inbox:{process}"
        await self._outgoing.get().append(
            partition, "invite", [self._group_key(group), inbox],
            f"p:{process}", lease, kind + group.encode("ascii"), channel,
        )  # fmt: skip

    async def group_discard(self, group: str, channel: str) -> None:
        """Let ``channel`` have it no longer. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        await self._on_reading_loop(lambda: self._group_discard(group, channel))

    async def _group_discard(self, group: str, channel: str) -> None:
        process = self._process_of(channel)
        if process == self.client_prefix:
            self._here.part(group, channel)
            leaving = self._leave_emptied()
            if leaving:  # even if the caller gives up
                await asyncio.wait(leaving)
            for left in leaving:
                left.result()
        elif process is None:
            link = self._outgoing.get().links[self._partition(group)]
            member = self._named_member(group, channel)
            await link.call("ZREM", self._group_key(group), member)
        else:
            await self._tell(process, _LEAVE, group, channel, 0)

    def _group_emptied(self, group: str) -> None:
        self._emptied.append(group)
        home = self._reading_loop
        if home is not None:
            with contextlib.suppress(RuntimeError):  # it has been closed
                home.call_soon_threadsafe(self._leave_emptied)

    def _leave_emptied(self) -> "list[asyncio.Future[Any]]":
        """End the process's membership of groups that nobody here is in any more.

        On the event loop that reads the inbox.
        """
        left: list[asyncio.Future[Any]] = []
        emptied = self._emptied
        while emptied:
            group = emptied.popleft()
            if self._here.has_members(group) or group not in self._joined:
                continue
            del self._joined[group]
            link = self._outgoing.get().links[self._partition(group)]
            future = link.call("ZREM", self._group_key(group), f"p:{self.client_prefix}")
            future.add_done_callback(forget)
            left.append(future)
        return left

    # What the inbox brings (see inbox.Recipient)

    def inbox_received(self, field: bytes, data: bytes, age: float) -> None:
        """An entry came, from another process or from who knows where."""
        kind = field[:1]
        try:
            name = field[1:].decode("ascii")
            if kind == _TO_GROUP:
                if self._here.has_members(name):
                    self._deliver(name, data, age, to_group=True)
            elif kind == _TO_CHANNEL:
                if self._process_of(name) != self.client_prefix:
                    raise InvalidNameError(f"{name} is no channel of this process")
                self._landed(name)
                self._deliver(name, data, age, to_group=False)
            elif kind in (_JOIN, _LEAVE):
                self._obey(kind, name, data.decode("ascii"))
            elif kind != _NOTHING:
                self._drop(UNDECODABLE, "the process's inbox")
        except (UnicodeDecodeError, InvalidNameError):
            self._drop(UNDECODABLE, "the process's inbox")

    def _deliver(self, name: str, data: bytes, age: float, *, to_group: bool) -> None:
        """Decode a message once, and put it into the mailboxes that are to have it."""
        try:
            unpack = snapshot(self.serializer.deserialize(data))
        except SerializationError:
            self._drop(UNDECODABLE, name, self._here.count_members(name) if to_group else 1)
            return
        entry = (time.monotonic() + self.expiry - age, unpack)
        if to_group:
            self._here.deliver_to_group(name, entry)
        elif not self._here.deliver(name, entry):
            self._drop(CAPACITY, name)

    def _obey(self, kind: bytes, group: str, channel: str) -> None:
        """Another process lets one of our channels join or leave a group."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        if kind == _JOIN:
            self._here.join(group, channel)
            if group not in self._joined:  # or it may have left after it was invited
                self._start_joining(group)
        else:
            self._here.part(group, channel)

    def inbox_read(self, partition: int, last: str) -> None:
        """Entries before ``last`` are no longer needed."""
        reader = self._readers[partition] if partition < len(self._readers) else None
        if reader is not None:
            link = self._outgoing.get().links[partition]
            link.call("XTRIM", reader.inbox, "MINID", last).add_done_callback(forget)

    def inbox_lost(self, partition: int, reason: str) -> None:
        """Messages may have been lost: whoever may have missed one is told, once."""
        self._in_flight.clear()
        for mailbox, _ in self._here.mailboxes():
            mailbox.announce_gap(reason)

    def inbox_groups(self, partition: int) -> Iterable[str]:
        """The keys of the groups that the process is a member of."""
        return [self._group_key(g) for g in list(self._joined) if self._partition(g) == partition]

    # Event loops

    async def _on_reading_loop(self, work: Callable[[], Coroutine[Any, Any, _T]]) -> _T:
        """Await ``work()`` where the inbox is read, again if that event loop ends meanwhile.

        So the server sees what this process joins and leaves in the order in which it does so: it
        all travels over one link.
        """
        while True:
            home = self._reading_loop if self._is_read() else None
            if home is None or home is asyncio.get_running_loop() or not home.is_running():
                return await self._off_passing_loop(work())
            with contextlib.suppress(LoopEnded):
                return await across(home, work())

    def _is_receiving(self) -> bool:
        """Whether the inbox is read, and has been found or made."""
        if not self._is_read():
            return False
        for reader in self._readers:  # all() takes twice as long, for every message
            if not reader.ready.done():
                return False
        return bool(self._readers)

    async def _receiving(self) -> None:
        """Have the inbox read, by this event loop unless another one does."""
        if self._is_receiving():
            return
        with self._starting:
            if not self._is_read():
                self._start_receiving()
        for reader in self._readers:
            if not reader.ready.done():
                await self._until_ready(reader.ready)

    async def _until_ready(self, ready: "asyncio.Future[None]") -> None:
        loop = ready.get_loop()
        try:
            async with asyncio.timeout(PATIENCE):
                if loop is asyncio.get_running_loop():
                    await asyncio.shield(ready)
                else:
                    await across(loop, _await(ready))
        except LoopEnded:
            await self._receiving()
        except TimeoutError:
            raise BrokerUnavailable(f"The broker did not answer for {PATIENCE:g} seconds") from None

    def _is_read(self) -> bool:
        """Whether there is an event loop that reads the inbox, as far as one can know."""
        loop, keeper = self._reading_loop, self._keeper
        return loop is not None and not loop.is_closed() and not (keeper is None or keeper.done())

    def _start_receiving(self) -> None:
        loop = asyncio.get_running_loop()
        before, self._readers = self._readers, []
        self._reading_loop = loop
        # What another loop was about to join is joined as the readers register.
        self._joined = dict.fromkeys(self._joined)
        for number, (server, base) in enumerate(zip(self.servers, self._bases, strict=True)):
            reader = InboxReader(
                server, number, base, self.client_prefix, self.lease, self, self.inbox_capacity
            )
            if before:
                reader.resume_from(before[number])
            self._readers.append(reader)
        for reader in self._readers:
            reader.start()
        self._keeper = loop.create_task(self._keep(self._readers))
        self._keeper.add_done_callback(self._keeper_ended)

    def _keeper_ended(self, keeper: "asyncio.Task[None]") -> None:
        """Have another event loop read the inbox if this one ends; closing the layer is no end."""
        if self._keeper is keeper:
            hand_over(self._here.waiting_loops, self._go_on_receiving)

    def _go_on_receiving(self) -> None:
        with self._starting:
            if self._keeper is not None and self._keeper.done():
                self._start_receiving()

    async def _keep(self, readers: list[InboxReader]) -> None:
        """Give signs of life, for as long as the event loop runs."""
        try:
            while True:
                await asyncio.sleep(self.lease / 3)
                for reader in readers:
                    reader.trim()
                await asyncio.gather(*map(self._renew, range(len(readers)), readers))
                self._leave_emptied()
        finally:
            await asyncio.gather(*(reader.stop() for reader in readers))

    async def _renew(self, partition: int, reader: InboxReader) -> None:
        link = self._outgoing.get().links[partition]
        groups = list(self.inbox_groups(partition))
        for count, *rest in reader.renewals(groups):
            keys, arguments = rest[:count], rest[count:]
            try:
                now, alive, lost, foreign = await link.run("renew", keys, arguments)
            except Exception:  # noqa: BLE001 - the reader sees it too, and tells
                return
            reader.set_clock(now)
            if foreign:
                logger.error("These keys should hold groups and hold something else: %s", foreign)
            if lost:
                self._drop(CAPACITY, "the process's inbox", lost)
            if not alive:
                await reader.reset()
                return

    # The whole

    async def flush(self) -> None:
        """Forget every message and every group. Consumers stay connected."""
        await self._on_reading_loop(self._flush)

    async def _flush(self) -> None:
        await self._here.flush()
        self._emptied.clear()
        self._joined.clear()
        self._in_flight.clear()
        await self._delete_keys(but=[reader.inbox for reader in self._readers])
        # The last entry stays, for the reader to go on from.
        for link, reader in zip(self._outgoing.get().links, self._readers, strict=False):
            link.call("XADD", reader.inbox, "NOMKSTREAM", "*", _NOTHING, b"").add_done_callback(
                forget
            )
            await link.call("XTRIM", reader.inbox, "MAXLEN", 1)

    async def aclose(self) -> None:
        """Stop reading, let others know, and close every connection. It can be used again."""
        here = asyncio.get_running_loop()
        await self._aclose()
        for loop, _ in self._outgoing.all():
            if loop is not here and loop.is_running():
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(self._aclose(), loop))

    async def _aclose(self) -> None:
        await asyncio.gather(*(queue.aclose() for queue in (self._queues.pop() or {}).values()))
        outgoing = self._outgoing.peek()
        if self._reading_loop is asyncio.get_running_loop():
            keeper, self._keeper, self._reading_loop = self._keeper, None, None
            readers, self._readers = self._readers, []
            if keeper is not None and not keeper.done():
                keeper.cancel()
                await asyncio.wait((keeper,), timeout=5)
            await self._here.flush()
            outgoing = self._outgoing.get()
            await self._sign_off(readers, outgoing)
        if outgoing is not None:
            self._outgoing.pop()
            await outgoing.aclose()

    async def _sign_off(self, readers: list[InboxReader], outgoing: Outgoing) -> None:
        """Remove what is this process's from the servers, if they answer."""
        groups = list(self._joined)
        self._joined.clear()
        self._emptied.clear()
        calls = [
            link.call("UNLINK", reader.inbox, reader.lost)
            for link, reader in zip(outgoing.links, readers, strict=False)
        ]
        for group in groups:
            link = outgoing.links[self._partition(group)]
            calls.append(link.call("ZREM", self._group_key(group), f"p:{self.client_prefix}"))
            if len(calls) >= _CHUNK and not await _answered(calls):
                return
        for call in calls:  # closing the links waits for these
            call.add_done_callback(forget)


async def _answered(calls: "list[asyncio.Future[Any]]") -> bool:
    """Wait for these, and empty the list; False if they take too long. A lease does the same."""
    for call in calls:
        call.add_done_callback(forget)
    _, late = await asyncio.wait(calls, timeout=_SIGN_OFF)
    calls.clear()
    return not late


async def _await(future: "asyncio.Future[_T]") -> _T:
    return await asyncio.shield(future)

"""What the layers over Redis have in common: options, names, named channels, delivery."""

import asyncio
import uuid
import weakref
from collections.abc import Callable, Coroutine, Mapping, Sequence
from functools import partial
from re import Pattern
from typing import TYPE_CHECKING, Any, ClassVar, Literal, TypeAlias, TypeVar

from django.core.checks import CheckMessage

from ..._runtime import clock
from ..._runtime.forks import in_child
from ..._runtime.loops import PerLoop, bridge, is_passing
from ...exceptions import (
    ChannelFull,
    InvalidChannelLayerError,
    InvalidNameError,
    SerializationError,
)
from ..base import BaseChannelLayer
from ..broker.here import Here
from ..broker.sealing import Seal, TooOld
from ..local import Late
from ..mailbox import Mailbox, Overflow
from ..messages import snapshot
from ..option_checks import Options, check_values
from ..options import LONGEST, require_capacities, require_text
from ..serializers import Key, registry
from ..statistics import CAPACITY, EXPIRED, UNDECODABLE, Statistics
from .connection.client import connect, decode_hosts
from .connection.errors import forget
from .connection.eviction import check_eviction
from .connection.hosts import HostsError, parse_hosts
from .connection.sender import Sender
from .keys import consistent_hash, pattern_of_all, queue_expiry_key, queue_key
from .queues import QueueReader

if TYPE_CHECKING:
    from redis.asyncio import Redis

__all__ = ["RedisLayer"]

_T = TypeVar("_T")

#: What a message may be for.
Destination: TypeAlias = Literal["channel", "group"]


class RedisLayer(BaseChannelLayer):
    """The common part of the layers over Redis.

    A subclass carries messages between processes: it implements :meth:`_send_to_process` and
    :meth:`_group_send`, and starts to receive what is sent to this process in :meth:`_receiving`.
    Named channels are queues on the server, and work here.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012 - a well-known attribute

    #: The options that have to be more than 0.
    limits: ClassVar[tuple[str, ...]] = ("capacity", "expiry", "group_expiry")

    def __init__(
        self,
        hosts: Any,
        prefix: str,
        expiry: float,
        group_expiry: float,
        capacity: int,
        channel_capacity: "Mapping[str | Pattern[str], int] | None",
        symmetric_encryption_keys: "Sequence[Key] | None",
        serializer_format: str,
        overflow: Overflow,
    ) -> None:
        require_text("prefix", prefix)
        require_text("serializer_format", serializer_format)
        require_capacities(channel_capacity)
        super().__init__(expiry, capacity, channel_capacity)
        self.prefix = prefix
        self.group_expiry = group_expiry
        self.servers, self._bases = parse_hosts(hosts, prefix)
        #: The option ``hosts``, as a list of dicts.
        self.hosts = decode_hosts(hosts)
        self.serializer = registry.get_serializer(
            serializer_format,
            # Its measure would be the clock of this machine; messages age by the server's.
            expiry=None,
            symmetric_encryption_keys=symmetric_encryption_keys,
        )
        self._seal = (
            Seal(symmetric_encryption_keys, prefix, expiry) if symmetric_encryption_keys else None
        )
        #: What was sent to channels of this process, delivered and dropped so far.
        self.statistics = Statistics(self)
        self._here_options = {
            "expiry": expiry,
            "group_expiry": group_expiry,
            "capacity": capacity,
            "channel_capacity": channel_capacity,
            "overflow": overflow,
        }
        self._begin()
        _layers.add(self)

    @classmethod
    def check(cls, options: Options) -> list[CheckMessage]:
        """What is wrong with these options, their values included."""
        return super().check(options) or check_values(cls, options, cls.limits)

    async def check_broker(self, alias: str) -> list[CheckMessage]:
        """Whether a server may throw away what the layer keeps there."""
        return await check_eviction(alias, self.servers)

    def _begin(self) -> None:
        """Be a process of its own, with nothing open. Again after a fork."""
        #: Names this process to all others; its channels' names carry it.
        self.client_prefix = uuid.uuid4().hex
        layer = weakref.proxy(self)

        def emptied(group: str) -> None:
            layer._group_emptied(group)

        self._here = Here(self.statistics, emptied, **self._here_options)
        self._outgoing = PerLoop(lambda: Sender(self.servers, self._bases))
        self._queues: PerLoop[dict[str, QueueReader]] = PerLoop(dict)
        self._starting: set[asyncio.Future[None]] = set()
        # Messages on their way to channels of our own, which take up their room already.
        self._in_flight: dict[str, int] = {}

    # For subclasses

    def _is_receiving(self) -> bool:
        """Whether what is sent to this process is received."""
        raise NotImplementedError

    async def _receiving(self) -> None:
        """Have what is sent to this process received, and wait until it is."""
        raise NotImplementedError

    async def _send_to_process(self, process: str, channel: str, data: bytes) -> None:
        """Send to a channel of a process, which may be this one."""
        raise NotImplementedError

    async def _group_send(self, group: str, data: bytes) -> None:
        """Send to all members of a group what is yet to be sealed."""
        raise NotImplementedError

    def _group_emptied(self, group: str) -> None:
        """Nobody in this process is in the group any more. See :class:`Here`."""
        raise NotImplementedError

    # Names and numbers

    @property
    def ring_size(self) -> int:
        """Over how many servers, or parts of a cluster, names are spread."""
        return len(self.servers)

    def consistent_hash(self, value: str | bytes) -> int:
        """The number of the server on which a name is."""
        return consistent_hash(value, len(self.servers))

    def connection(self, index: int) -> "Redis":
        """A redis-py client, for commands of your own to a server that the layer uses.

        Use it in ``async with``, on one event loop; its connections are closed at the end.

        Args:
            index: the number of the server; see :meth:`consistent_hash`.

        Raises:
            ValueError: there is no such server.
        """
        if not 0 <= index < len(self.servers):
            raise HostsError(f"There are only {len(self.servers)} hosts - you asked for {index}!")
        return connect(self.servers[index])

    def _partition(self, name: str) -> int:
        return consistent_hash(name, len(self.servers))

    def _queue_key(self, channel: str) -> str:
        return queue_key(self._bases[self._partition(channel)], channel)

    @staticmethod
    def _process_of(channel: str) -> str | None:
        """The process that reads a channel, or None for one that any may read."""
        head, mark, _ = channel.partition("!")
        return head.rpartition(".")[2] if mark else None

    @staticmethod
    def _milliseconds(seconds: float) -> int:
        return max(int(min(seconds, LONGEST) * 1000), 1)

    def count_pending(self) -> int:
        """Messages that have arrived here and wait to be read."""
        return self._here.count_pending()

    def _drop(self, reason: str, channel: str, count: int = 1) -> None:
        """Count messages that were lost before they reached a mailbox here."""
        with self._here.lock:
            self.statistics.sent += count
            self.statistics.count(reason, channel, count)
        self.statistics.report()

    # Messages as bytes

    def serialize(self, message: dict[str, Any]) -> bytes:
        """``message`` as bytes. A subclass may put its own format here, or encryption.

        It is called once for each message that is sent, to a channel or to a group.

        Raises:
            SerializationError: it cannot be sent; the caller gets whatever is raised.
        """
        return self.serializer.serialize(message)

    def deserialize(self, message: bytes) -> dict[str, Any]:
        """What :meth:`serialize` was given. A subclass that replaces one replaces the other.

        It is called for each message that arrives in this process. Whatever it raises, the
        message is dropped and counted as undecodable.
        """
        return self.serializer.deserialize(message)

    def _pack(self, message: dict[str, Any]) -> bytes:
        """What to send for ``message``."""
        data = self.serialize(message)
        if type(data) is bytes:
            return data
        if isinstance(data, bytes | bytearray | memoryview):
            return bytes(data)
        raise SerializationError(
            f"{type(self).__name__}.serialize() must return bytes, not {type(data).__name__}"
        )

    def _sealed(self, kind: Destination, name: str, data: bytes) -> bytes:
        """What to hand to the broker for a destination, which alone can read it if encrypted."""
        return data if self._seal is None else self._seal.close(kind, name, data)

    def _unpack(self, kind: Destination, name: str, data: bytes) -> dict[str, Any]:
        """The message that has arrived for a destination.

        Raises:
            SerializationError: there is none, or it is for another one.
        """
        if self._seal is not None:
            data = self._seal.open(kind, name, data)
        try:
            message = self.deserialize(data)
        except SerializationError:
            raise
        except Exception as error:  # a subclass may raise what it likes
            raise SerializationError(f"Not a message of this layer: {error}") from error
        if not isinstance(message, dict):
            raise SerializationError(
                f"{type(self).__name__}.deserialize() must return a dict, not "
                f"{type(message).__name__}"
            )
        return message

    # Sending

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one channel; see :meth:`BaseChannelLayer.send`."""
        self.require_valid_channel_name(channel)
        data = self._pack(message)
        await self._off_passing_loop(self._send(channel, data))

    async def _send(self, channel: str, data: bytes) -> None:
        process = self._process_of(channel)
        if process is None:
            if not await self._enqueue(channel, data):
                raise self._full(channel)
            return
        data = self._sealed("channel", channel, data)
        if process != self.client_prefix:
            await self._send_to_process(process, channel, data)
        else:
            with self._here.lock:
                flying = self._in_flight.get(channel, 0)
                if self._here.qsize(channel) + flying >= self.get_capacity(channel):
                    raise self._full(channel)
                self._in_flight[channel] = flying + 1
            try:
                await self._send_to_process(process, channel, data)
            except BaseException:
                self._landed(channel)
                raise

    def _landed(self, channel: str) -> None:
        """A message to a channel of our own is no longer on its way."""
        with self._here.lock:
            flying = self._in_flight.pop(channel, 0) - 1
            if flying > 0:
                self._in_flight[channel] = flying

    async def _enqueue(self, channel: str, data: bytes) -> bool:
        """Append to the queue of a named channel; False if it holds as many as it may."""
        queue = self._queue_key(channel)
        taken, expired = await self._outgoing.get().append(
            self._partition(channel), "enqueue", [queue, queue_expiry_key(queue)],
            self._sealed("channel", channel, data), self.get_capacity(channel),
            self._milliseconds(self.expiry),
        )  # fmt: skip
        if expired:
            self._drop(EXPIRED, channel, expired)
        return bool(taken)

    async def _enqueue_each(self, channels: list[bytes], data: bytes) -> None:
        """Append to the queues of a group's members; count it where there is no room.

        What is no channel's name, somebody else has put there: it is passed over.
        """
        for name in channels:
            channel = name.decode("ascii", "replace")
            try:
                self.require_valid_channel_name(channel)
            except InvalidNameError:
                continue
            if not await self._enqueue(channel, data):
                self._drop(CAPACITY, channel)

    def _full(self, channel: str) -> ChannelFull:
        return ChannelFull(
            f"Channel {channel} holds {self.get_capacity(channel)} messages, which is its capacity"
        )

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        self.require_valid_group_name(group)
        data = self._pack(message)
        await self._off_passing_loop(self._group_send(group, data))

    @staticmethod
    def _off_passing_loop(coroutine: Coroutine[Any, Any, _T]) -> Coroutine[Any, Any, _T]:
        """What to await: it, or over the bridge if this loop exists for a single call only."""
        return bridge.cross(coroutine) if is_passing(asyncio.get_running_loop()) else coroutine

    # Receiving

    async def new_channel(self, prefix: str = "specific") -> str:
        """The name of a new channel that only this process receives from."""
        await self._off_passing_loop(self._receiving())
        return f"{prefix}.{self.client_prefix}!{uuid.uuid4().hex}"

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""
        if self._here.is_in_a_group(channel) and self._is_receiving():
            # It is one of our own, so its name is valid.
            return await self._off_passing_loop(self._here.receive(channel))
        self.require_valid_channel_name(channel)
        return await self._off_passing_loop(self._receive(channel))

    async def _receive(self, channel: str) -> dict[str, Any]:
        process = self._process_of(channel)
        if process is None:
            queue = self._queue(channel)
            queue.callers += 1
            try:
                return await queue.receive()
            finally:
                queue.callers -= 1
        if process != self.client_prefix:
            raise InvalidChannelLayerError(
                f"Channel {channel} belongs to another process or layer, which alone receives from "
                "it"
            )
        await self._receiving()
        return await self._here.receive(channel)

    def _deliver(
        self, name: str, data: bytes, age: float = 0.0, patience: float = 0.0, *, to_group: bool
    ) -> Late | None:
        """Decode a message once, and put it into the mailboxes here that are to have it.

        Args:
            name: of a group, or of a channel of this process.
            data: the message as it was sent.
            age: seconds since it was sent.
            patience: see :meth:`Mailbox.put`.
            to_group: whether ``name`` is a group's.

        Returns:
            What is left to be done later, if ``patience`` is given, or None.
        """
        try:
            unpack = snapshot(self._unpack("group" if to_group else "channel", name, data))
        except SerializationError as error:
            reason = EXPIRED if isinstance(error, TooOld) else UNDECODABLE
            self._drop(reason, name, self._here.count_members(name) if to_group else 1)
            return None
        entry = (clock.now() + self.expiry - age, unpack)
        if to_group:
            return self._here.deliver_to_group(name, entry, patience)
        return self._here.deliver_or_drop(name, entry, patience)

    def open_mailbox(self, channel: str, wake: Callable[[], None]) -> Mailbox:
        """The mailbox of ``channel`` for a consumer on the running event loop."""
        mailbox = self._here.open_mailbox(channel, wake)
        if not self._is_receiving():  # any more, since the channel was made
            receiving = asyncio.ensure_future(self._off_passing_loop(self._receiving()))
            self._starting.add(receiving)
            receiving.add_done_callback(self._starting.discard)
            receiving.add_done_callback(forget)
        return mailbox

    def _queue(self, channel: str) -> QueueReader:
        queues = self._queues.get()
        if channel not in queues:
            partition, outgoing = self._partition(channel), self._outgoing.get()
            queues[channel] = QueueReader(
                self.servers[partition],
                outgoing.links[partition],
                partial(outgoing.append, partition),
                self._queue_key(channel),
                self.client_prefix,
                channel,
                min(self.expiry, LONGEST),
                partial(self._open, channel),
                partial(self._drop, EXPIRED, channel),
            )
        return queues[channel]

    def _open(self, channel: str, data: bytes) -> dict[str, Any] | None:
        """The message that a queue held, or None after counting its loss."""
        try:
            message = self._unpack("channel", channel, data)
        except SerializationError as error:
            self._drop(EXPIRED if isinstance(error, TooOld) else UNDECODABLE, channel)
            return None
        with self._here.lock:
            self.statistics.sent += 1
            self.statistics.delivered += 1
        return message

    async def stop_receiving(self, channel: str) -> None:
        """Give back what this event loop was handed of a named channel and nobody here waits for.

        Somebody whose process, or event loop, is about to end calls this, so that others have
        those messages at once and not only after some seconds.
        """
        queues = self._queues.peek()
        if queues and channel in queues and not queues[channel].is_wanted():
            await queues.pop(channel).leave()

    # The whole

    async def _delete_keys(self, but: Sequence[str] = ()) -> None:
        """Delete every key of this prefix, but for some."""
        kept = {key.encode("utf-8") for key in but}
        for link, base in zip(self._outgoing.get().links, self._bases, strict=True):
            pattern, cursor = pattern_of_all(base), b""
            while cursor != b"0":
                cursor, keys = await link.call(
                    "SCAN", cursor or b"0", "MATCH", pattern, "COUNT", 1000
                )
                keys = [key for key in keys if key not in kept]
                if keys:
                    await link.call("UNLINK", *keys)

    async def _rest(self) -> None:
        """Let go of what receives on this event loop, if nobody needs it."""
        raise NotImplementedError

    async def close_pools(self) -> None:
        """Close the connections of the running event loop, as at the end of a script or a test.

        Nothing else ends: neither memberships nor unread messages nor calls under way, and nothing
        on other event loops. A connection over which a consumer or a caller of :meth:`receive` is
        still to get something stays, and a new one is made when it is needed.

        It takes a few seconds at the most, also if the broker does not answer.
        """
        await self._rest()
        queues = self._queues.peek() or {}
        idle = [queues.pop(name) for name, queue in list(queues.items()) if not queue.callers]
        await asyncio.gather(*(queue.aclose() for queue in idle))
        outgoing = self._outgoing.peek()
        if outgoing is not None:
            await outgoing.rest()

    async def aclose(self) -> None:
        """End all that this process has in the layer, as at the end of the process.

        Every channel of this process leaves its groups, what they have not read is dropped, and
        the connections of all event loops are closed. The layer can be used again.
        """
        raise NotImplementedError


_layers: "weakref.WeakSet[RedisLayer]" = weakref.WeakSet()

# What a child has of its parent's connections. To let go of them would close what the parent
# uses: they share the selector of its event loop.
_inherited: list[dict[str, Any]] = []


def _after_fork() -> None:
    """A child is a process of its own; its parent's connections are its parent's."""
    for layer in list(_layers):
        _inherited.append(vars(layer).copy())
        layer._begin()


in_child(_after_fork)

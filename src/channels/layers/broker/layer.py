"""What every layer with a broker is: the interface, over a transport that it holds."""

import asyncio
import logging
import uuid
import weakref
from collections.abc import Callable, Coroutine, Iterable, Mapping, Sequence
from functools import partial
from re import Pattern
from typing import Any, ClassVar, Literal, TypeAlias, TypeVar

from django.core.checks import CheckMessage

from ..._runtime import clock, lograte, tallies
from ..._runtime.carried import strip
from ..._runtime.forks import in_child
from ..._runtime.loops import PerLoop, bridge, passing_loops
from ..._runtime.types import Mailbox
from ...exceptions import (
    ChannelFull,
    InvalidChannelLayerError,
    InvalidNameError,
    SerializationError,
)
from ...signals import layer_message_sent
from ..base import BaseChannelLayer
from ..carriers import carriers, carry, is_due
from ..local import Late
from ..mailbox import Overflow
from ..messages import decode, packed, snapshot
from ..option_checks import Options, check_values
from ..options import require_capacities, require_text
from ..receiving import OverriddenMailbox
from ..serializers import Key, MsgPackSerializer, registry
from ..states import require_revision, require_state_expiry
from ..statistics import CAPACITY, EXPIRED, UNDECODABLE, Statistics
from .places import Places
from .process import ProcessChannels, process_of
from .sealing import Seal, TooOld
from .transport import MakeTransport, Transport

__all__ = ["BrokerLayer"]

_T = TypeVar("_T")

logger = logging.getLogger("channels.layers")

#: What a message may be for.
Destination: TypeAlias = Literal["channel", "group", "state"]


class BrokerLayer(BaseChannelLayer):
    """A channel layer over whatever carries bytes between processes.

    The layer has names, capacities, messages as bytes, encryption, the channels of this process and
    what is counted of them. The rest is its transport's; see :class:`~.transport.Transport`.

    Args:
        make_transport: makes the transport, for this layer and again for it in a forked child.
        prefix: tells this layer's messages from those of other layers of the same broker.
        expiry: seconds after which an unread message is dropped.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels.
        symmetric_encryption_keys: the first one encrypts messages, all decrypt.
        serializer_format: the name of a registered serializer.
        overflow: what a consumer's full channel does.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012 - a well-known attribute

    supports_state: ClassVar[bool] = True

    carries = True

    supports_tokens: ClassVar[bool] = True

    supports_places: ClassVar[bool] = True

    #: Seconds for which the places of a process count after its last sign of life.
    place_lease: ClassVar[float] = 30.0

    #: What carries messages between processes.
    transport: Transport

    #: The options that have to be more than 0.
    limits: ClassVar[tuple[str, ...]] = ("capacity", "expiry", "group_expiry")

    def __init__(
        self,
        make_transport: MakeTransport,
        *,
        prefix: str = "asgi",
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        symmetric_encryption_keys: "Sequence[Key] | None" = None,
        serializer_format: str = "msgpack",
        overflow: Overflow = "drop_newest",
    ) -> None:
        require_text("prefix", prefix)
        require_text("serializer_format", serializer_format)
        require_capacities(channel_capacity)
        super().__init__(expiry, capacity, channel_capacity)
        self.prefix = prefix
        self.group_expiry = group_expiry
        self.serializer = registry.get_serializer(
            serializer_format,
            # Its measure would be the clock of this machine; messages age by the broker's.
            expiry=None,
            symmetric_encryption_keys=symmetric_encryption_keys,
        )
        # The serializer if it makes plain MessagePack, which the layer then makes without it.
        self._msgpack = (
            self.serializer
            if type(self.serializer) is MsgPackSerializer and not symmetric_encryption_keys
            else None
        )
        self._seal_keys = symmetric_encryption_keys
        self._seal = (
            Seal(symmetric_encryption_keys, prefix, expiry) if symmetric_encryption_keys else None
        )
        #: What was sent to channels of this process, delivered and dropped so far.
        self.statistics = Statistics(self)
        # Whether all channels hold as many messages, unless the option channel_capacity is used.
        self._uniform = type(self).get_capacity is BaseChannelLayer.get_capacity
        self._make_transport = make_transport
        self._make_channels = partial(
            ProcessChannels,
            self.statistics,
            expiry=expiry,
            group_expiry=group_expiry,
            capacity=capacity,
            channel_capacity=channel_capacity,
            overflow=overflow,
        )
        self._begin()
        _layers.add(self)

    @classmethod
    def check(cls, options: Options) -> list[CheckMessage]:
        """What is wrong with these options, their values included."""
        return super().check(options) or check_values(cls, options, cls.limits)

    def _begin(self) -> None:
        """Be a process of its own, with nothing open. Again after a fork."""
        #: Names this process to all others; its channels' names carry it.
        self.client_prefix = uuid.uuid4().hex
        layer = weakref.proxy(self)

        def emptied(group: str) -> None:
            layer.transport.emptied(group)

        #: The channels of this process, and their groups.
        self.local = self._make_channels(emptied=emptied, layer=layer)
        self.transport = self._make_transport(self)
        self._starting: set[asyncio.Future[None]] = set()
        self._places = PerLoop(lambda: Places(layer.transport.hold_places, layer.place_lease))

    def count_pending(self) -> int:
        """Messages that have arrived here and wait to be read."""
        return self.local.count_pending()

    # Messages as bytes

    def serialize(self, message: dict[str, Any]) -> bytes:
        """``message`` as bytes. A subclass may put its own format here, or encryption.

        It is called once for each message that is sent, to a channel or to a group.

        Raises:
            SerializationError: it cannot be sent; the caller gets whatever is raised.
        """
        if self.serializer is self._msgpack:
            data = packed(message)
            if data is not None:
                return data
        return self.serializer.serialize(message)

    def deserialize(self, message: bytes) -> dict[str, Any]:
        """What :meth:`serialize` was given. A subclass that replaces one replaces the other.

        It is called for each message that arrives in this process. Whatever it raises, the
        message is dropped and counted as undecodable.
        """
        if self.serializer is self._msgpack:
            try:
                content = decode(message)
            except Exception:  # noqa: BLE001, S110 - the serializer says what is wrong
                pass
            else:
                if type(content) is dict:
                    return content
        return self.serializer.deserialize(message)

    def _as_bytes(self, data: Any) -> bytes:
        """What a subclass's :meth:`serialize` has returned, as exactly bytes."""
        if isinstance(data, bytes | bytearray | memoryview):
            return bytes(data)
        raise SerializationError(
            f"{type(self).__name__}.serialize() must return bytes, not {type(data).__name__}"
        )

    def _open(self, to: Destination, name: str, data: bytes) -> dict[str, Any]:
        """The message that has arrived for a destination.

        Raises:
            SerializationError: there is none, or it is for another one.
        """
        if self._seal is not None:
            data = self._seal.open(to, name, data)
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
        if carriers and is_due(message):
            await carry(partial(BrokerLayer.send, self), self, "send", channel, message)
            return
        watched = tallies.counting or layer_message_sent.receivers
        began = clock.now() if watched else 0.0
        data = self.serialize(message)
        if type(data) is not bytes:
            data = self._as_bytes(data)
        self.require_valid_channel_name(channel)
        if self._seal is not None:
            data = self._seal.close("channel", channel, data)
        process = process_of(channel)
        if process is None:
            await self._off_passing_loop(self._append(channel, data))
        else:
            own = process == self.client_prefix
            if own and not self.local.reserve(channel, self.get_capacity(channel)):
                raise self._full(channel)
            sending = self.transport.send_to_process(process, channel, data)
            if asyncio.get_running_loop() in passing_loops:
                sending = bridge.cross(sending)
            try:
                lost = await sending
            except BaseException:
                if own:
                    self.local.release(channel)
                raise
            if lost is not None:
                self.local.drop(lost, channel)
                self.local.release(channel)
        if watched:
            self.statistics.has_sent(began, message, channel=channel)

    async def _append(self, channel: str, data: bytes) -> None:
        """Append what has been sealed to the queue of a named channel."""
        capacity = self.get_capacity(channel)
        if not await self.transport.enqueue(channel, data, capacity, self.expiry):
            raise self._full(channel)

    def _full(self, channel: str) -> ChannelFull:
        return ChannelFull(
            f"Channel {channel} holds {self.get_capacity(channel)} messages, which is its capacity"
        )

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        if carriers and is_due(message):
            await carry(partial(BrokerLayer.group_send, self), self, "group_send", group, message)
            return
        watched = tallies.counting or layer_message_sent.receivers
        began = clock.now() if watched else 0.0
        data = self.serialize(message)
        if type(data) is not bytes:
            data = self._as_bytes(data)
        if type(group) is not str or not self.local.has_members(group):
            self.require_valid_group_name(group)  # a group with members has one
        seal, capacity = self._seal, None
        if seal is None and self._uniform and not self.channel_capacity:
            capacity = self.capacity
        sealed = data if seal is None else seal.close("group", group, data)
        sending = self.transport.group_send(group, sealed, capacity, self.expiry)
        if asyncio.get_running_loop() in passing_loops:
            sending = bridge.cross(sending)
        left = await sending
        if left:
            await self._off_passing_loop(self._enqueue_each(left, data))
        if watched:
            self.statistics.has_sent(began, message, group=group)

    async def _enqueue_each(self, channels: Iterable[str], data: bytes) -> None:
        """Append to the queues of a group's members; count it where there is no room.

        What is no channel's name, somebody else has put there: it is passed over.
        """
        for channel in channels:
            try:
                self.require_valid_channel_name(channel)
            except InvalidNameError:
                continue
            sealed = data if self._seal is None else self._seal.close("channel", channel, data)
            capacity = self.get_capacity(channel)
            if not await self.transport.enqueue(channel, sealed, capacity, self.expiry):
                self.local.drop(CAPACITY, channel)

    @staticmethod
    def _off_passing_loop(coroutine: Coroutine[Any, Any, _T]) -> Coroutine[Any, Any, _T]:
        """What to await: it, or over the bridge if this loop exists for a single call only."""
        return bridge.cross(coroutine) if asyncio.get_running_loop() in passing_loops else coroutine

    # Groups

    async def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``, so that it receives what is sent to the group.

        For a channel of another process it is that process which joins, soon after.
        """
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process, transport = process_of(channel), self.transport
        if process == self.client_prefix:
            self.local.require_group_room(group, channel)
            change = transport.join(group, channel)
        elif process is None:
            change = transport.bind(group, channel, self.group_expiry)
        else:
            change = transport.invite(process, group, channel)
        await self._off_passing_loop(change)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        process, transport = process_of(channel), self.transport
        if process == self.client_prefix:
            change = transport.leave(group, channel)
        elif process is None:
            change = transport.unbind(group, channel)
        else:
            change = transport.dismiss(process, group, channel)
        await self._off_passing_loop(change)

    # States

    async def set_state(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        *,
        revision: int | None = None,
    ) -> bool:
        """Keep ``value`` under a name; see :meth:`BaseChannelLayer.set_state`."""
        self.require_valid_state_name(collection, field)
        require_state_expiry(expiry)
        require_revision(revision)
        data = self._as_bytes(self.serialize(value))
        if self._seal is not None:
            data = self._seal.close("state", f"{collection} {field}", data, expiry)
        setting = self.transport.set_state(
            collection, field, data, expiry, revision, self.state_capacity
        )
        return await self._off_passing_loop(setting)

    async def get_states(self, collection: str) -> dict[str, dict[str, Any]]:
        """All states of a collection, by field. One that cannot be read is left out, and logged."""
        self.require_valid_state_name(collection)
        return await self._get_states(collection, None)

    async def get_state(self, collection: str, field: str) -> dict[str, Any] | None:
        """One state, or None if there is none (any more)."""
        self.require_valid_state_name(collection, field)
        return (await self._get_states(collection, field)).get(field)

    async def _get_states(self, collection: str, field: str | None) -> dict[str, dict[str, Any]]:
        found = await self._off_passing_loop(self.transport.get_states(collection, field))
        values = {}
        for name, data in found.items():
            try:
                values[name] = self._open("state", f"{collection} {name}", data)
            except TooOld:
                continue
            except SerializationError as error:
                said = "Left out a state that cannot be read: %s"
                lograte.log(logger, logging.WARNING, "state", said, error)
        return values

    async def delete_state(self, collection: str, field: str) -> None:
        """Forget a state. No error if there is none."""
        self.require_valid_state_name(collection, field)
        await self._off_passing_loop(self.transport.delete_state(collection, field))

    # Limits

    async def take_tokens(
        self,
        key: str,
        *,
        rate: float,
        burst: float,
        least: float = 1.0,
        most: float | None = None,
    ) -> tuple[float, float]:
        """Take tokens from a bucket; see :meth:`BaseChannelLayer.take_tokens`."""
        self.require_valid_bucket(key, rate, burst)
        most = least if most is None else most
        taking = self.transport.take_tokens(key, rate, burst, float(least), float(most))
        return await self._off_passing_loop(taking)

    async def take_places(self, places: Mapping[str, int]) -> str | None:
        """Take one of each place; see :meth:`BaseChannelLayer.take_places`."""
        for name in places:
            self.require_valid_place(name)
        return await self._places.get().take(places)

    def add_places(self, names: Iterable[str]) -> None:
        """Hold one more of each place, although nobody could be asked."""
        self._places.get().add(names)

    def give_places(self, names: Iterable[str]) -> None:
        """Hold one less of each place."""
        self._places.get().give(names)

    def limit_groups(self, channel: str, most: int, exceeded: Callable[[], None]) -> None:
        """Let a consumer's channel be in so many groups at most."""
        self.local.limit_groups(channel, most, exceeded)

    # Receiving

    async def new_channel(self, prefix: str = "specific") -> str:
        """The name of a new channel that only this process receives from."""
        await self._off_passing_loop(self.transport.ready())
        return f"{prefix}.{self.client_prefix}!{uuid.uuid4().hex}"

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""
        if self.local.is_in_a_group(channel) and self.transport.is_ready():
            # It is one of our own, so its name is valid.
            return await self._off_passing_loop(self.local.receive(channel))
        self.require_valid_channel_name(channel)
        return await self._off_passing_loop(self._receive(channel))

    async def _receive(self, channel: str) -> dict[str, Any]:
        process = process_of(channel)
        if process is None:
            return await self._receive_named(channel)
        if process != self.client_prefix:
            raise InvalidChannelLayerError(
                f"Channel {channel} belongs to another process or layer, which alone receives from "
                "it"
            )
        await self.transport.ready()
        return await self.local.receive(channel)

    async def _receive_named(self, channel: str) -> dict[str, Any]:
        while True:
            data, group = await self.transport.dequeue(channel, self.expiry)
            try:
                if group is None:
                    message = self._open("channel", channel, data)
                else:
                    message = self._open("group", group, data)
            except SerializationError as error:
                self._count_unreadable(error, channel)
                continue
            with self.local.lock:
                self.statistics.sent += 1
                self.statistics.delivered += 1
            return strip(message)

    def open_mailbox(self, channel: str, wake: Callable[[], None]) -> Mailbox:
        """The mailbox of ``channel`` for a consumer on the running event loop.

        If a subclass has its own :meth:`receive`, the consumer's messages pass through that.
        """
        mailbox = self.local.attach(channel, wake)
        if not self.transport.is_ready():  # any more, since the channel was made
            starting = asyncio.ensure_future(self._off_passing_loop(self.transport.ready()))
            self._starting.add(starting)
            starting.add_done_callback(self._started)
        if type(self).receive is not BrokerLayer.receive:
            return OverriddenMailbox(self, mailbox, wake)
        return mailbox

    def _started(self, starting: "asyncio.Future[None]") -> None:
        self._starting.discard(starting)
        if not starting.cancelled():
            starting.exception()  # the transport tells the log, and tries again

    async def stop_receiving(self, channel: str) -> None:
        """Give back what this event loop was handed of a named channel and nobody here waits for.

        Call it before your process, or your event loop, ends, so that others have those messages at
        once and not only after some seconds.
        """
        await self.transport.stop_receiving(channel)

    # What the transport brings; see Recipient

    def deliver_to_channel(
        self, channel: str, data: bytes, age: float = 0.0, patience: float = 0.0
    ) -> Late | None:
        """Put a message into the mailbox of a channel of this process."""
        head, mark, _ = channel.partition("!")
        if not mark or head.rpartition(".")[2] != self.client_prefix:
            raise InvalidNameError(f"{channel} is no channel of this process")
        try:
            unpack = snapshot(self._open("channel", channel, data))
        except SerializationError as error:
            self._count_unreadable(error, channel)
            return None
        finally:
            self.local.release(channel)
        entry = (clock.now() + self.expiry - age, unpack)
        return self.local.deliver_or_drop(channel, entry, patience)

    def deliver_to_group(
        self, group: str, data: bytes, age: float = 0.0, patience: float = 0.0
    ) -> Late | None:
        """Put a message into the mailboxes of a group's members in this process."""
        try:
            unpack = snapshot(self._open("group", group, data))
        except SerializationError as error:
            self._count_unreadable(error, group, self.local.count_members(group))
            return None
        entry = (clock.now() + self.expiry - age, unpack)
        return self.local.deliver_to_group(group, entry, patience)

    def _count_unreadable(self, error: SerializationError, name: str, count: int = 1) -> None:
        if count:
            self.local.drop(EXPIRED if isinstance(error, TooOld) else UNDECODABLE, name, count)

    # The whole

    async def flush(self) -> None:
        """Forget every message, every group and every state. Consumers stay connected."""
        await self._off_passing_loop(self.transport.flush())

    async def aclose(self) -> None:
        """End all that this process has in the layer, as at the end of the process.

        Every channel of this process leaves its groups, what they have not read is dropped, and
        the connections of all event loops are closed. The layer can be used again.
        """
        await self._places.aclose()
        await self.transport.aclose()


_layers: "weakref.WeakSet[BrokerLayer]" = weakref.WeakSet()

# What a child has of its parent's connections. To let go of them would close what the parent
# uses: they share the selector of its event loop.
_inherited: list[dict[str, Any]] = []


def _after_fork() -> None:
    """A child is a process of its own; its parent's connections are its parent's."""
    for layer in list(_layers):
        _inherited.append(vars(layer).copy())
        layer._begin()


in_child(_after_fork)

"""What a layer asks of a broker, and what it is told in return.

A broker takes part in a layer through a transport, which moves bytes between processes and keeps
memberships and queues. It knows nothing of messages: what they hold, how they are encrypted and
what becomes of them in a process is the layer's.
"""

from collections.abc import Callable, Collection, Iterable, Mapping
from typing import NamedTuple, Protocol, TypeAlias

from ..local import Late
from .process import ProcessChannels

__all__ = ["UNCONFIRMED", "Held", "MakeTransport", "Recipient", "Transport"]

#: Why a message was dropped: the connection broke before the broker confirmed that it had taken
#: it. It may have arrived, so it is not sent again.
UNCONFIRMED = "unconfirmed"


class Held(NamedTuple):
    """What a broker answers to whoever says how many places it holds."""

    #: Whether it still had everything that this holder has said before. If not, it has changed
    #: nothing, or not everything.
    known: bool
    #: The name of a place of which too many are held by all together, or None.
    full: str | None
    #: The names of the places whose number is now as it was said.
    changed: Collection[str]


class Transport(Protocol):
    """Carries messages between the processes of one layer.

    A *process* is one layer object in one operating system process; a *channel* belongs to the
    process that made it; a *named channel* belongs to nobody, and is a queue at the broker from
    which any process may read. Names are valid. Coroutines may be called on any event loop that
    lasts (the layer sees to that), and raise :exc:`~channels.exceptions.BrokerError` when the
    broker refuses, or does not answer for long.
    """

    # Receiving

    def is_ready(self) -> bool:
        """Whether what is sent to this process arrives. Called for every message."""

    async def ready(self) -> None:
        """Start to receive what is sent to this process, if need be, and wait until it arrives."""

    # Sending

    async def send_to_process(self, process: str, channel: str, data: bytes) -> str | None:
        """Send to a channel of a process, which may be this one.

        Returns:
            None, or why the message was lost: a reason as the statistics have it.

        Raises:
            ChannelFull: the broker has no more room for what that process is to read.
        """

    async def group_send(
        self, group: str, data: bytes, capacity: int | None, expiry: float
    ) -> Iterable[str]:
        """Send to each process with members in a group, once.

        Args:
            group: its name.
            data: the message.
            capacity: how many messages each named channel in the group may hold, or None if they
                are not all alike: then the transport appends to none of them.
            expiry: seconds for which the message may wait in them.

        Returns:
            The named channels in the group that have not been appended to, which the layer does.
        """

    # Groups

    async def join(self, group: str, channel: str) -> None:
        """Add a channel of this process to a group, so that it receives what is sent to the group.

        The channel joins in :attr:`Recipient.local`, too.
        """

    async def leave(self, group: str, channel: str) -> None:
        """Remove a channel of this process from a group."""

    def emptied(self, group: str) -> None:
        """The last member in this process has left a group. In any thread, with the lock held."""

    async def invite(self, process: str, group: str, channel: str) -> None:
        """Ask another process, if it is there, to add one of its channels to a group."""

    async def dismiss(self, process: str, group: str, channel: str) -> None:
        """Ask another process to remove one of its channels from a group."""

    async def bind(self, group: str, channel: str, lease: float) -> None:
        """Add a named channel to a group, for ``lease`` seconds."""

    async def unbind(self, group: str, channel: str) -> None:
        """Remove a named channel from a group."""

    # Named channels

    async def enqueue(self, channel: str, data: bytes, capacity: int, expiry: float) -> bool:
        """Append to the queue of a named channel.

        Args:
            channel: its name.
            data: the message.
            capacity: how many messages it may hold.
            expiry: seconds for which the message may wait.

        Returns:
            False if it holds as many already.
        """

    async def dequeue(self, channel: str, expiry: float) -> tuple[bytes, str | None]:
        """The next message of a named channel, which nobody else gets. A cancelled call loses none.

        Args:
            channel: its name.
            expiry: seconds for which a message may have waited, unless its sender gave it longer.

        Returns:
            The message, and the group whose message it is if :meth:`group_send` has appended it
            as it was; None for what :meth:`enqueue` has appended.
        """

    async def stop_receiving(self, channel: str) -> None:
        """Give back messages of a named channel that this event loop has and nobody here awaits."""

    # States

    async def set_state(
        self,
        collection: str,
        field: str,
        data: bytes,
        expiry: float,
        revision: int | None,
        capacity: int,
    ) -> bool:
        """Keep a state; see ``BaseChannelLayer.set_state``. Repeating the call changes nothing.

        Args:
            collection: its name.
            field: the name of the state in it.
            data: the value.
            expiry: seconds after which the state is gone.
            revision: of the value, or None.
            capacity: fields that the collection may hold. One more takes the place of the one
                that would expire first.

        Returns:
            False if a newer one is there.
        """

    async def get_states(self, collection: str, field: str | None) -> dict[str, bytes]:
        """The states of a collection that have not expired, or the one of ``field``, by field."""

    async def delete_state(self, collection: str, field: str) -> None:
        """Forget a state, if there is one."""

    # Limits

    async def take_tokens(
        self, key: str, rate: float, burst: float, least: float, most: float
    ) -> tuple[float, float]:
        """Take tokens from a bucket; see ``BaseChannelLayer.take_tokens``."""

    async def hold_places(
        self,
        holder: str,
        numbers: Mapping[str, tuple[int, int | None]],
        *,
        lease: float,
        keep: float,
        former: str | None,
    ) -> Held:
        """Say how many of some places a holder has, and renew its lease.

        :mod:`channels.layers.broker.places` says what places are. Calls of one holder take effect
        in their order, also if they are given up, and repeating one changes nothing.

        Args:
            holder: the name of an event loop of a process, which alone uses it.
            numbers: by the name of the place: how many the holder has from now on, and how many all
                may have together for it to be granted, or None for any number. Of places that
                are kept together, all are granted or none. Without any place, only the lease is
                renewed, wherever the holder has one.
            lease: seconds for which counts what the holder has.
            keep: seconds for which the broker is to know of a place; longer than ``lease``.
            former: the holder in whose place this one comes, and whose lease ends, or None.
        """

    # The whole

    async def flush(self) -> None:
        """Forget every message, every group and every state, at the broker and in ``local``."""

    async def rest(self) -> None:
        """Close the connections of the running event loop that nobody here needs."""

    async def aclose(self) -> None:
        """End all that this process has at the broker, flush :attr:`Recipient.local`, disconnect.

        The transport can be used again. Like :meth:`rest`, it may be called on any event loop.
        """


class Recipient(Protocol):
    """The layer, as its transport knows it.

    A transport hands over here what arrives. It tells :attr:`local` of what was lost on the way,
    and of faults after which nobody knows what was.
    """

    @property
    def client_prefix(self) -> str:
        """The name of this process."""

    @property
    def local(self) -> ProcessChannels:
        """The channels of this process, and their groups."""

    def require_valid_channel_name(self, name: str) -> object:
        """Raise InvalidNameError unless ``name`` can be that of a channel."""

    def require_valid_group_name(self, name: str) -> object:
        """Raise InvalidNameError unless ``name`` can be that of a group."""

    def deliver_to_channel(
        self, channel: str, data: bytes, age: float = 0.0, patience: float = 0.0
    ) -> Late | None:
        """A message came for one channel.

        Args:
            channel: as the message has it.
            data: as :meth:`Transport.send_to_process` was given it, or somebody else sent it.
            age: seconds since it was sent.
            patience: see :meth:`~channels.layers.mailbox.Mailbox.put`.

        Returns:
            What is left to be done later, if ``patience`` is given, or None.

        Raises:
            InvalidNameError: this is no channel of this process.
        """

    def deliver_to_group(
        self, group: str, data: bytes, age: float = 0.0, patience: float = 0.0
    ) -> Late | None:
        """The same for the members of a group in this process. There may be none any more."""


#: Makes the transport of a layer; again in each child that is forked.
MakeTransport: TypeAlias = Callable[[Recipient], Transport]

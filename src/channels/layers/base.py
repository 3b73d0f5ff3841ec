"""What a channel layer is: its interface, what it declares that it can do, names, capacities."""

import fnmatch
import math
import re
import warnings
from collections.abc import Callable, Iterable, Mapping, Sequence
from datetime import datetime
from typing import Any, ClassVar, Protocol

from django.core.checks import CheckMessage

from .._runtime.types import Mailbox
from ..exceptions import InvalidNameError, NotSupported
from .messages import snapshot
from .option_checks import Options, check_signature
from .receiving import ReceivingMailbox

__all__ = ["BaseChannelLayer", "ChannelLayer", "FullChannelLayer"]


class ChannelLayer(Protocol):
    """What every layer has, whether or not it derives from :class:`BaseChannelLayer`.

    That class says what the methods do. ``flush`` and those of groups need the extension of that
    name.
    """

    @property
    def extensions(self) -> Sequence[str]:
        """What the layer can do besides sending and receiving: ``"groups"``, ``"flush"``."""

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one channel."""

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""

    async def new_channel(self) -> str:
        """The name of a new channel, which only this process receives from."""

    async def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``, so that it receives what is sent to the group."""

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``."""

    async def flush(self) -> None:
        """Forget every message, every group and every state."""


class FullChannelLayer(ChannelLayer, Protocol):
    """What projects call: the type of ``get_channel_layer()`` and ``self.channel_layer``.

    Layers of others may have no more than :class:`ChannelLayer`. What sends later, or again and
    again, needs ``supports_delayed``, and what keeps states ``supports_state``.
    """

    async def send_later(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to one channel after some seconds, or at a time."""

    async def group_send_later(
        self,
        group: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to every member that ``group`` has then."""

    async def cancel_later(self, handle: str) -> bool:
        """Cancel what was to be sent later."""

    async def send_every(
        self, seconds: float, channel: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to one channel again and again."""

    async def group_send_every(
        self, seconds: float, group: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to every member of ``group`` again and again."""

    async def cancel_every(self, name: str) -> bool:
        """End what is sent again and again under ``name``."""

    async def set_state(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        *,
        revision: int | None = None,
    ) -> bool:
        """Keep ``value`` under a name for some seconds, unless a newer one is there."""

    async def get_states(self, collection: str) -> dict[str, dict[str, Any]]:
        """All states of a collection, by field."""

    async def get_state(self, collection: str, field: str) -> dict[str, Any] | None:
        """One state, or None if there is none (any more)."""

    async def delete_state(self, collection: str, field: str) -> None:
        """Forget a state. No error if there is none."""


class _NameRule:
    """The text of :attr:`BaseChannelLayer.invalid_name_error`, with the layer's own length."""

    def __get__(self, layer: "BaseChannelLayer | None", cls: "type[BaseChannelLayer]") -> str:
        length = (cls if layer is None else layer).MAX_NAME_LENGTH
        return (
            f"{{}} name must be a valid unicode string with length < {length} containing only "
            "ASCII alphanumerics, hyphens, underscores, or periods."
        )


class BaseChannelLayer:
    """Base class of channel layers: what Channels calls, with defaults for most of it.

    A layer must implement the coroutines ``send``, ``receive`` and ``new_channel``, and for the
    extension ``groups`` also ``group_add``, ``group_discard`` and ``group_send``. It declares what
    else it can do in ``extensions`` and in the attributes ``supports_...``, and by overriding the
    methods under "What Channels asks" below. A layer that does not derive from this class is
    adapted (``layers/third_party.py``).

    Args:
        expiry: seconds after which an unread message is dropped.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels: a mapping from glob patterns or
            compiled regular expressions to messages. The first that matches counts.
    """

    #: Names must be shorter than this many characters.
    MAX_NAME_LENGTH: int = 100

    #: What the layer can do besides sending and receiving: ``"groups"``, ``"flush"``.
    extensions: list[str] = []  # noqa: RUF012 - a well-known mutable attribute

    #: Whether messages reach other processes.
    supports_processes: ClassVar[bool] = True

    #: Whether what it sends carries what :mod:`channels.layers.carriers` gives for it.
    carries: bool = False

    #: Whether messages can be sent later, and again and again: :meth:`send_later` and the others.
    supports_delayed: ClassVar[bool] = False

    #: Whether the layer keeps states: dicts with a name, which any process may set and read.
    supports_state: ClassVar[bool] = False

    #: Whether the layer keeps token buckets, by which processes share limits: :meth:`take_tokens`.
    supports_tokens: ClassVar[bool] = False

    #: Whether the layer counts places that all processes hold together, by which they share limits
    #: of open connections: :meth:`take_places`.
    supports_places: ClassVar[bool] = False

    #: Fields that a collection of states holds. One more takes the place of the one that would
    #: expire first.
    state_capacity: int = 1000

    #: The coroutines of this class that never wait for anything and need no event loop, so that
    #: sync code may run them in its own thread. A subclass that overrides one declares it again.
    immediate: ClassVar[frozenset[str]] = frozenset()

    #: Turns a message into bytes, in a layer that sends bytes.
    serialize: "Callable[[dict[str, Any]], bytes] | None" = None

    channel_name_regex: "re.Pattern[str]" = re.compile(r"[a-zA-Z0-9\-_.]+(![a-zA-Z0-9\-_.]*)?\Z")
    group_name_regex: "re.Pattern[str]" = re.compile(r"[a-zA-Z0-9\-_.]+\Z")

    #: ``invalid_name_error.format("Group")`` says what a group's name must be like.
    invalid_name_error: "str | _NameRule" = _NameRule()

    def __init__(
        self,
        expiry: float = 60,
        capacity: int = 100,
        channel_capacity: "Mapping[str | re.Pattern[str], int] | None" = None,
    ) -> None:
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})

    # What it can do

    @property
    def supports_groups(self) -> bool:
        """Whether it has groups."""
        return "groups" in self.extensions

    @property
    def supports_flush(self) -> bool:
        """Whether it can forget everything."""
        return "flush" in self.extensions

    @property
    def supports_sync(self) -> bool:
        """Whether it has a native synchronous interface: sync code needs no event loop to send."""
        return self.is_immediate("send")

    def is_immediate(self, method: str) -> bool:
        """Whether this coroutine of the layer never waits; see :attr:`immediate`."""
        if method in vars(self):
            return False
        for cls in type(self).__mro__:
            if "immediate" in vars(cls):
                return method in vars(cls)["immediate"]
            if method in vars(cls):
                return False
        return False  # pragma: no cover - BaseChannelLayer declares it

    # What Channels asks

    @classmethod
    def check(cls, options: Options) -> list[CheckMessage]:
        """What is wrong with the options that a project's settings give this class.

        ``manage.py check`` calls it. This method finds options that the class does not take, and
        options that are missing. Override it to check their values too, without connecting to
        anything.
        """
        return check_signature(cls, options)

    async def check_broker(self, alias: str) -> list[CheckMessage]:
        """What is wrong with the configuration of the broker, which has just carried a message.

        ``manage.py check --deploy`` calls it, and ignores exceptions.
        """
        return []

    def open_mailbox(self, channel: str, wake: Callable[[], None]) -> Mailbox:
        """The mailbox of ``channel`` for a consumer on the running event loop.

        By default a task fills it, by calling ``receive`` again and again. A layer that can put
        messages into mailboxes by itself overrides this method and needs no such tasks.

        Args:
            channel: the consumer's, from :meth:`new_channel`.
            wake: called on that loop when there is a message to take. It must not call the layer.
        """
        return ReceivingMailbox(self, channel, wake)

    def limit_groups(self, channel: str, most: int, exceeded: Callable[[], None]) -> None:
        """Let a consumer's channel be in so many groups at most.

        One more is to call ``exceeded`` and to raise
        :exc:`~channels.exceptions.TooManyGroups` in ``group_add``. A layer that cannot do that
        ignores the limit.

        Args:
            channel: the consumer's, which has a mailbox.
            most: how many groups.
            exceeded: called on any thread.
        """

    async def stop_receiving(self, channel: str) -> None:
        """Give back messages of a named channel that this event loop has and nobody here awaits.

        A worker calls this before its event loop ends, so that other processes get those messages
        at once. A layer that fetches a message only for a waiting caller has nothing to do.
        """

    def snapshot(self, message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """A function that returns ``message`` as it is now, to be sent later.

        Raises:
            SerializationError: it cannot be sent, or whatever :attr:`serialize` raises.
        """
        unpack = snapshot(message)
        if self.serialize is not None:
            self.serialize(message)
        return unpack

    # Capacities

    def compile_capacities(
        self, channel_capacity: "Mapping[str | re.Pattern[str], int]"
    ) -> "list[tuple[re.Pattern[str], int]]":
        """The patterns of ``channel_capacity``, compiled, each with its capacity in messages."""
        return [
            (re.compile(fnmatch.translate(key)) if isinstance(key, str) else key, capacity)
            for key, capacity in channel_capacity.items()
        ]

    def get_capacity(self, channel: str) -> int:
        """How many messages ``channel`` holds."""
        for pattern, capacity in self.channel_capacity:
            if pattern.match(channel):
                return capacity
        return self.capacity

    # Names

    def match_type_and_length(self, name: object) -> bool:
        """Whether ``name`` is a string that is neither empty nor too long."""
        return isinstance(name, str) and 0 < len(name) < self.MAX_NAME_LENGTH

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        """True for a valid channel name.

        Args:
            name: the name to check.
            receive: whether it is given to ``receive()``, which takes no part after a ``!``.

        Raises:
            TypeError: the name is not valid; the text says what is.
        """
        if not self.match_type_and_length(name) or not self.channel_name_regex.match(name):
            raise InvalidNameError(self._name_error("Channel", name))
        if receive and "!" in name and not name.endswith("!"):
            raise InvalidNameError("Specific channel names in receive() must end at the !")
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """True for a valid group name.

        Raises:
            TypeError: the name is not valid; the text says what is.
        """
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise InvalidNameError(self._name_error("Group", name))
        return True

    def require_valid_state_name(self, collection: str, field: str | None = None) -> None:
        """Check the names of a state, which are made like those of groups.

        Raises:
            TypeError: one of them is not valid; the text says what is.
        """
        for kind, name in (("Collection", collection), ("Field", field)):
            valid = self.match_type_and_length(name) and self.group_name_regex.match(str(name))
            if not valid and not (kind == "Field" and name is None):
                raise InvalidNameError(self._name_error(kind, name))

    def _name_error(self, kind: str, name: object) -> str:
        rule = str(self.invalid_name_error).format(kind)
        shown = ascii(name)
        return f"{rule} Got {shown if len(shown) <= 120 else shown[:117] + '...'}."

    def valid_channel_names(self, names: list[str], receive: bool = False) -> bool:
        """True when all names of a non-empty list are valid channel names.

        Raises:
            TypeError: one is not, or ``names`` is not such a list.
        """
        if type(names) is not list or not names:
            raise InvalidNameError("names must be a non-empty list")
        return all(self.require_valid_channel_name(name, receive=receive) for name in names)

    def valid_channel_name(self, channel_name: str, receive: bool = False) -> bool:
        """Deprecated: use :meth:`require_valid_channel_name`."""
        _deprecated("valid_channel_name", "require_valid_channel_name")
        return self.require_valid_channel_name(channel_name, receive=receive)

    def valid_group_name(self, group_name: str) -> bool:
        """Deprecated: use :meth:`require_valid_group_name`."""
        _deprecated("valid_group_name", "require_valid_group_name")
        return self.require_valid_group_name(group_name)

    def non_local_name(self, name: str) -> str:
        """The part of a channel name that names the process that reads it: up to ``!`` if any."""
        head, mark, _ = name.partition("!")
        return head + mark

    # The interface

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one channel.

        Raises:
            ChannelFull: the channel holds as many messages as it may.
            TypeError: the name is not valid, or the message is not a dict that can be carried.
        """
        raise NotImplementedError("send() should be implemented in a channel layer")

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""
        raise NotImplementedError("receive() should be implemented in a channel layer")

    async def new_channel(self) -> str:
        """The name of a new channel, which only this process receives from."""
        raise NotImplementedError("new_channel() should be implemented in a channel layer")

    async def flush(self) -> None:
        """Forget every message, every group and every state (extension ``flush``)."""
        raise NotImplementedError("flush() not implemented (flush extension)")

    async def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``, so that it receives what is sent to the group."""
        raise NotImplementedError("group_add() not implemented (groups extension)")

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""
        raise NotImplementedError("group_discard() not implemented (groups extension)")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        raise NotImplementedError("group_send() not implemented (groups extension)")

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
        """Keep ``value`` under a name, for every process to read (see :attr:`supports_state`).

        Args:
            collection: the name of what belongs together, such as the jobs of one user.
            field: the name of the state within its collection.
            value: what a message may hold; it needs no ``type``.
            expiry: seconds after which it is gone, unless it is set again.
            revision: a whole number from 0 to 2**53. A state that was set with a greater one, or
                with the same one and another value, stays as it is: so of several writers the one
                that has the newest value wins, in whichever order they arrive. (Encrypted values
                are never the same.) None sets the state in any case, and counts as 0 afterwards.

        Returns:
            Whether it was set.

        Raises:
            TypeError: a name is not valid, or the value is not a dict that can be carried.
        """
        raise NotImplementedError("set_state() not implemented (supports_state)")

    async def get_states(self, collection: str) -> dict[str, dict[str, Any]]:
        """All states of a collection, by field. None of them has expired."""
        raise NotImplementedError("get_states() not implemented (supports_state)")

    async def get_state(self, collection: str, field: str) -> dict[str, Any] | None:
        """One state, or None if there is none (any more)."""
        raise NotImplementedError("get_state() not implemented (supports_state)")

    async def delete_state(self, collection: str, field: str) -> None:
        """Forget a state. No error if there is none."""
        raise NotImplementedError("delete_state() not implemented (supports_state)")

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
        """Take tokens from a bucket that all processes share, if it has enough of them.

        Limits call it. A bucket that nobody has used lately is full.

        Args:
            key: names the bucket; made like the name of a group.
            rate: tokens that come back in a second.
            burst: tokens that a full bucket holds.
            least: how many to take at least.
            most: how many to take if there are more; by default ``least``.

        Returns:
            How many were taken, and 0.0; or 0.0, and the seconds after which there will be enough.

        Raises:
            NotSupported: the layer has no buckets.
            TypeError: the key is not valid.
            ValueError: the rate or the burst is not.
        """
        raise NotSupported(
            f"{type(self).__qualname__} keeps no token buckets (supports_tokens), which limits "
            "that processes share need"
        )

    async def take_places(self, places: Mapping[str, int]) -> str | None:
        """Take one of each place, unless all processes together hold as many as there may be.

        Limits of open connections call it. What a process holds ends soon after the process,
        however that ends.

        Args:
            places: how many of each may be held, by names that are made like those of groups.

        Returns:
            None; or the name of a place of which there are none left, and then none is taken.

        Raises:
            NotSupported: the layer has no places.
            TypeError: a name is not valid.
        """
        raise NotSupported(
            f"{type(self).__qualname__} counts no places (supports_places), which limits of "
            "connections that processes share need"
        )

    def add_places(self, names: Iterable[str]) -> None:
        """Hold one more of each place, although nobody could be asked. On a running event loop."""

    def give_places(self, names: Iterable[str]) -> None:
        """Hold one less of each place. On the event loop on which they were taken or added."""

    def require_valid_place(self, name: str) -> None:
        """Check the name of a place; see :meth:`take_places`."""
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise InvalidNameError(self._name_error("Place", name))

    def require_valid_bucket(self, key: str, rate: float, burst: float) -> None:
        """Check the name of a token bucket, and how it is filled; see :meth:`take_tokens`."""
        if not self.match_type_and_length(key) or not self.group_name_regex.match(key):
            raise InvalidNameError(self._name_error("Bucket", key))
        for name, value in (("rate", rate), ("burst", burst)):
            if type(value) not in (int, float) or not 0 < value < math.inf:
                raise ValueError(f"{name} of tokens must be a number above 0, not {value!r}")

    # Later, and again and again

    async def send_later(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to one channel after some seconds, or at a time.

        What is overdue, because no process was there to send it, is sent as soon as one is. The
        message's ``expiry`` begins when it is sent.

        Args:
            channel: where to.
            message: what to send, as it is now.
            delay: seconds from now, at least 0.
            at: when, instead of ``delay``: a datetime with a time zone. What is past is due now.

        Returns:
            A handle for :meth:`cancel_later`: text that may be stored.

        Raises:
            NotSupported: the layer does not do this; see :attr:`supports_delayed`.
            InvalidScheduleError: not one of ``delay`` and ``at`` is given, or it is not valid.
            ScheduleFull: as many messages are scheduled as the layer allows.
            TypeError: the name is not valid, or the message is not a dict that can be carried.
        """
        raise self._no_delayed_sends("send_later")

    async def group_send_later(
        self,
        group: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to every member that ``group`` has then; see :meth:`send_later`."""
        raise self._no_delayed_sends("group_send_later")

    async def cancel_later(self, handle: str) -> bool:
        """Cancel what was to be sent later.

        Args:
            handle: from :meth:`send_later` or :meth:`group_send_later`.

        Returns:
            True if it had not been sent, and will not be. False if it has been sent, is being sent
            in this moment, or was cancelled before.

        Raises:
            InvalidScheduleError: this is no handle, or one of another layer.
        """
        raise self._no_delayed_sends("cancel_later")

    async def send_every(
        self, seconds: float, channel: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to one channel every so many seconds, for the first time after as many.

        What is sent again and again has a name. To give the same name again, as each process of a
        project does when it starts, replaces what is sent and the period, and starts no second one.
        A period that stays the same goes on as it was. If no process was there for several
        periods, the message is sent once, at once, and then at its times again.

        Args:
            seconds: from one to the next, at least 0.1.
            channel: where to.
            message: what to send, as it is now.
            name: of this periodic message, with the characters that names of groups have.

        Raises:
            NotSupported: the layer does not do this; see :attr:`supports_delayed`.
            InvalidScheduleError: the period is not valid.
            ScheduleFull: as many messages are scheduled as the layer allows.
            TypeError: a name is not valid, or the message is not a dict that can be carried.
        """
        raise self._no_delayed_sends("send_every")

    async def group_send_every(
        self, seconds: float, group: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to every member of ``group`` every so many seconds.

        See :meth:`send_every`, with which it shares the names.
        """
        raise self._no_delayed_sends("group_send_every")

    async def cancel_every(self, name: str) -> bool:
        """End what :meth:`send_every` or :meth:`group_send_every` has begun under ``name``.

        Returns:
            Whether there was anything.
        """
        raise self._no_delayed_sends("cancel_every")

    def require_valid_periodic_name(self, name: str) -> None:
        """Refuse what cannot be the name of a periodic message.

        Raises:
            TypeError: the text says what can.
        """
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise InvalidNameError(self._name_error("Periodic message", name))

    def _no_delayed_sends(self, method: str, layer: object = None) -> NotSupported:
        name = type(self if layer is None else layer).__name__
        return NotSupported(
            f"{name} has no {method}(): it does not send later. The in-memory layer "
            "and those on Redis do"
        )


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated, use {new} instead.", DeprecationWarning, stacklevel=3)

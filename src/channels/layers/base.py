"""What every channel layer has in common: its interface, names, and capacities."""

import fnmatch
import re
import warnings
from collections.abc import Mapping
from typing import Any, ClassVar

from ..exceptions import InvalidNameError

__all__ = ["BaseChannelLayer"]


class _NameRule:
    """What names must be like, with a slot for the kind of name; knows the layer's own length."""

    def __get__(self, layer: "BaseChannelLayer | None", cls: "type[BaseChannelLayer]") -> str:
        length = (cls if layer is None else layer).MAX_NAME_LENGTH
        return (
            f"{{}} name must be a valid unicode string with length < {length} containing only "
            "ASCII alphanumerics, hyphens, underscores, or periods."
        )


class BaseChannelLayer:
    """Base of channel layers.

    A layer need only implement the coroutines ``send``, ``receive`` and ``new_channel``, and for
    the extension ``groups`` also ``group_add``, ``group_discard`` and ``group_send``. One that
    can hand messages over without a reader for each channel also has
    ``open_mailbox(channel, wake)``, which returns a :class:`~channels.layers.mailbox.Mailbox`.

    Args:
        expiry: seconds after which an unread message is dropped.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels: a mapping from glob patterns or
            compiled regular expressions to messages. The first that matches counts.
    """

    #: Names must be shorter than this many characters.
    MAX_NAME_LENGTH: int = 100

    #: What the layer can do besides sending and receiving.
    extensions: list[str] = []  # noqa: RUF012 - a well-known mutable attribute

    #: The coroutines of this very class that never wait for anything and need no event loop, so
    #: that the synchronous interface may run them in the calling thread.
    immediate: ClassVar[frozenset[str]] = frozenset()

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
            receive: it is to be received from, as a process-local prefix (ending in ``!``).

        Raises:
            TypeError: it is not valid; says what is.
        """
        if not self.match_type_and_length(name) or not self.channel_name_regex.match(name):
            raise InvalidNameError(self._name_error("Channel", name))
        if receive and "!" in name and not name.endswith("!"):
            raise InvalidNameError("Specific channel names in receive() must end at the !")
        return True

    def require_valid_group_name(self, name: str) -> bool:
        """True for a valid group name.

        Raises:
            TypeError: it is not valid; says what is.
        """
        if not self.match_type_and_length(name) or not self.group_name_regex.match(name):
            raise InvalidNameError(self._name_error("Group", name))
        return True

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
        """Forget every message and every group (extension ``flush``)."""
        raise NotImplementedError("flush() not implemented (flush extension)")

    async def group_add(self, group: str, channel: str) -> None:
        """Let ``channel`` have what is sent to ``group`` from now on."""
        raise NotImplementedError("group_add() not implemented (groups extension)")

    async def group_discard(self, group: str, channel: str) -> None:
        """Let ``channel`` have it no longer. No error if it was not a member."""
        raise NotImplementedError("group_discard() not implemented (groups extension)")

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        raise NotImplementedError("group_send() not implemented (groups extension)")


def _deprecated(old: str, new: str) -> None:
    warnings.warn(f"{old} is deprecated, use {new} instead.", DeprecationWarning, stacklevel=3)

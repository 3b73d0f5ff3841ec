"""The channel layer of one process: every promise of a layer, kept without a broker."""

import inspect
import uuid
from collections.abc import Mapping
from re import Pattern
from typing import Any, ClassVar

from django.core.checks import CheckMessage, Warning  # noqa: A004

from .._runtime import clock
from ..exceptions import ChannelFull
from . import nowhere
from .local import LocalChannels
from .mailbox import Mailbox, Overflow
from .messages import taken
from .option_checks import Options
from .states import LocalStates, require_revision, require_state_expiry

__all__ = ["InMemoryChannelLayer"]


class InMemoryChannelLayer(LocalChannels):
    """Carries messages within one process, between its threads and event loops.

    For tests, development and deployments of exactly one process: no message leaves the process.

    Args:
        expiry: seconds after which an unread message is dropped. A channel that lets one expire,
            and that no consumer reads, is taken to be abandoned and leaves all its groups.
        group_expiry: seconds after which the membership of a channel that no consumer reads ends.
            A connected consumer stays a member as long as it is connected.
        capacity: messages a channel holds.
        channel_capacity: other capacities for some channels: globs or compiled regular
            expressions, and messages.
        overflow: what a full channel does: ``"drop_newest"`` (``send`` raises ``ChannelFull``, a
            group message is dropped for this member), ``"drop_oldest"``, or ``"disconnect"``
            (the consumer's connection is closed with code 1013).
        others: options of another layer, which are not used: settings for tests often change the
            ``BACKEND`` and keep the ``CONFIG``. ``manage.py check`` reports them.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012 - a well-known attribute

    supports_processes: ClassVar[bool] = False

    #: Sync code runs these to their end in its own thread.
    immediate: ClassVar[frozenset[str]] = frozenset(
        {
            "send", "new_channel", "group_add", "group_discard", "group_send",
            "set_state", "get_states", "get_state", "delete_state",
        }
    )  # fmt: skip

    supports_state: ClassVar[bool] = True

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        overflow: Overflow = "drop_newest",
        **others: Any,
    ) -> None:
        super().__init__(expiry, group_expiry, capacity, channel_capacity, overflow)
        self._states = LocalStates()

    @classmethod
    def check(cls, options: Options) -> list[CheckMessage]:
        """What is wrong with these options; those that are not used count too."""
        found = super().check(options)
        unused = sorted(options.config.keys() - inspect.signature(cls).parameters.keys())
        if unused and cls is InMemoryChannelLayer:
            told = f"{options} has {', '.join(unused)}, which the in-memory layer does not use."
            hint = "Remove what belongs to another layer, and check the spelling."
            found.insert(0, Warning(told, hint=hint, id="channels.W004"))
        return found

    # For tests and debugging

    @property
    def channels(self) -> dict[str, Mailbox]:
        """The channels in use by name, which are those that hold messages or are being read.

        A connected consumer reads its channel, so a test with one consumer finds that one's name
        with ``list(layer.channels)[0]``.
        """
        self._purge()
        with self.lock:
            return {
                name: mailbox
                for name, mailbox in self._mailboxes.items()
                if mailbox.attached or mailbox.readers or not mailbox.empty()
            }

    @property
    def groups(self) -> dict[str, dict[str, float]]:
        """Groups and their members, each with the time it joined (seconds since the epoch)."""
        self._purge()
        return self._groups

    # The interface

    async def new_channel(self, prefix: str = "specific.") -> str:
        """The name of a new channel, starting with ``prefix``."""
        return f"{prefix}.inmemory!{uuid.uuid4().hex}"

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        """Send ``message`` to one channel; see :meth:`BaseChannelLayer.send`."""
        entry = (clock.now() + self.expiry, taken(message))
        if not self.deliver(channel, entry):
            raise ChannelFull(
                f"Channel {channel} holds {self.get_capacity(channel)} messages, which is its "
                "capacity"
            )

    async def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``; adding it again renews its membership."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.part(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        entry = (clock.now() + self.expiry, taken(message))
        name: object = group  # whatever callers give
        if isinstance(name, str) and self.has_members(name):
            self.deliver_to_group(group, entry)
        else:
            self.require_valid_group_name(group)
            if not self._groups and not self._mailboxes:
                nowhere.tell_once(group)

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
        copy = taken(value)
        with self.lock:
            return self._states.set(collection, field, copy, expiry, revision, self.state_capacity)

    async def get_states(self, collection: str) -> dict[str, dict[str, Any]]:
        """All states of a collection, by field."""
        self.require_valid_state_name(collection)
        with self.lock:
            found = self._states.get(collection)
        return {field: copy() for field, copy in found.items()}

    async def get_state(self, collection: str, field: str) -> dict[str, Any] | None:
        """One state, or None if there is none (any more)."""
        self.require_valid_state_name(collection, field)
        with self.lock:
            copy = self._states.get(collection).get(field)
        return None if copy is None else copy()

    async def delete_state(self, collection: str, field: str) -> None:
        """Forget a state. No error if there is none."""
        self.require_valid_state_name(collection, field)
        with self.lock:
            self._states.delete(collection, field)

    # The whole

    async def flush(self) -> None:
        """Forget every message, every group and every state. Consumers stay connected."""
        with self.lock:
            self._states.clear()
        await super().flush()

    async def aclose(self) -> None:
        """Forget everything. The layer can be used again."""
        await self.flush()

    async def close(self) -> None:
        """The well-known name of :meth:`aclose`."""
        await self.aclose()

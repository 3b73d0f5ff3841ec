"""The channel layer of one process: every promise of a layer, kept without a broker."""

import inspect
import logging
import uuid
from collections.abc import Callable, Coroutine, Mapping
from datetime import datetime
from functools import partial
from re import Pattern
from typing import Any, ClassVar, TypeAlias

from django.core.checks import CheckMessage, Warning  # noqa: A004

from .._runtime import clock, tallies
from .._runtime.buckets import Buckets
from ..exceptions import ChannelFull
from ..signals import layer_message_sent
from . import nowhere
from .carriers import carriers, carry, is_due, unchanged
from .delays import When, require_period, when
from .local import LocalChannels
from .mailbox import Mailbox, Overflow
from .messages import taken
from .option_checks import Options
from .options import require_count
from .schedule import Schedule, Scheduled
from .states import LocalStates, require_revision, require_state_expiry
from .statistics import CAPACITY, UNDECODABLE

__all__ = ["SCHEDULE_CAPACITY", "InMemoryChannelLayer"]

logger = logging.getLogger("channels.layers")

#: Messages that may be scheduled.
SCHEDULE_CAPACITY = 10_000


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
        schedule_capacity: messages that may wait to be sent later, periodic ones included.
        others: options of another layer, which are not used: settings for tests often change the
            ``BACKEND`` and keep the ``CONFIG``. ``manage.py check`` reports them.
    """

    extensions: list[str] = ["groups", "flush"]  # noqa: RUF012 - a well-known attribute

    supports_processes: ClassVar[bool] = False

    supports_delayed: ClassVar[bool] = True

    #: Sync code runs these to their end in its own thread.
    immediate: ClassVar[frozenset[str]] = frozenset(
        {
            "send", "new_channel", "group_add", "group_discard", "group_send",
            "set_state", "get_states", "get_state", "delete_state",
            "take_tokens",
            "send_later", "group_send_later", "cancel_later",
            "send_every", "group_send_every", "cancel_every",
        }
    )  # fmt: skip

    supports_state: ClassVar[bool] = True

    supports_tokens: ClassVar[bool] = True

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        overflow: Overflow = "drop_newest",
        schedule_capacity: int = SCHEDULE_CAPACITY,
        **others: Any,
    ) -> None:
        require_count("schedule_capacity", schedule_capacity, 0)
        super().__init__(expiry, group_expiry, capacity, channel_capacity, overflow)
        self._states = LocalStates()
        self._buckets = Buckets()
        self.schedule_capacity = schedule_capacity
        self._schedule = Schedule(schedule_capacity)

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
        if carriers and is_due(message):
            sending = partial(InMemoryChannelLayer.send, self)
            await carry(sending, self, "send", channel, message)
            return
        began = clock.now()
        entry = (began + self.expiry, taken(message))
        if not self.deliver(channel, entry):
            raise ChannelFull(
                f"Channel {channel} holds {self.get_capacity(channel)} messages, which is its "
                "capacity"
            )
        if tallies.counting or layer_message_sent.receivers:
            self.statistics.has_sent(began, message, channel=channel)

    async def group_add(self, group: str, channel: str) -> None:
        """Add ``channel`` to ``group``; adding it again renews its membership."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.require_group_room(group, channel)
        self.join(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        """Remove ``channel`` from ``group``. No error if it was not a member."""
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.part(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        """Send ``message`` to every member of ``group``. Full members lose it, and are counted."""
        if carriers and is_due(message):
            sending = partial(InMemoryChannelLayer.group_send, self)
            await carry(sending, self, "group_send", group, message)
            return
        began = clock.now()
        entry = (began + self.expiry, taken(message))
        name: object = group  # whatever callers give
        if isinstance(name, str) and self.has_members(name):
            self.deliver_to_group(group, entry)
        else:
            self.require_valid_group_name(group)
            if not self._groups and not self._mailboxes:
                nowhere.tell_once(group)
        if tallies.counting or layer_message_sent.receivers:
            self.statistics.has_sent(began, message, group=group)

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
        with self.lock:
            return self._buckets.take_some(
                key, 1 / rate, burst, least, least if most is None else most
            )

    # Later, and again and again; see BaseChannelLayer

    async def send_later(
        self,
        channel: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to one channel after some seconds, or at a time."""
        if carriers and is_due(message):
            sending = partial(InMemoryChannelLayer.send_later, self, delay=delay, at=at)
            return await carry(sending, self, "send_later", channel, message)
        self.require_valid_channel_name(channel)
        return self._send_later(when(delay, at), self.send, channel, message)

    async def group_send_later(
        self,
        group: str,
        message: dict[str, Any],
        *,
        delay: float | None = None,
        at: datetime | None = None,
    ) -> str:
        """Send ``message`` to every member that ``group`` has then."""
        if carriers and is_due(message):
            sending = partial(InMemoryChannelLayer.group_send_later, self, delay=delay, at=at)
            return await carry(sending, self, "group_send_later", group, message)
        self.require_valid_group_name(group)
        return self._send_later(when(delay, at), self.group_send, group, message)

    def _send_later(
        self, due: When, send: "_Send", destination: str, message: dict[str, Any]
    ) -> str:
        sending = self._sending(send, destination, message)
        return self._schedule.add(Scheduled(sending, clock.now() + due.from_now()))

    async def cancel_later(self, handle: str) -> bool:
        """Cancel what was to be sent later. Whether it had not been sent."""
        return self._schedule.cancel(self._schedule.require_handle(handle))

    async def send_every(
        self, seconds: float, channel: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to one channel every so many seconds."""
        self.require_valid_channel_name(channel)
        self._send_every(seconds, self.send, channel, message, name)

    async def group_send_every(
        self, seconds: float, group: str, message: dict[str, Any], *, name: str
    ) -> None:
        """Send ``message`` to every member of ``group`` every so many seconds."""
        self.require_valid_group_name(group)
        self._send_every(seconds, self.group_send, group, message, name)

    def _send_every(
        self, seconds: float, send: "_Send", destination: str, message: dict[str, Any], name: str
    ) -> None:
        self.require_valid_periodic_name(name)
        period = require_period(seconds)
        sending = self._sending(send, destination, message)
        self._schedule.add(Scheduled(sending, clock.now() + period, period, _periodic_key(name)))

    async def cancel_every(self, name: str) -> bool:
        """End what is sent again and again under ``name``. Whether there was anything."""
        self.require_valid_periodic_name(name)
        return self._schedule.cancel(_periodic_key(name))

    def _sending(
        self, send: "_Send", destination: str, message: dict[str, Any]
    ) -> Callable[[float], Coroutine[Any, Any, bool]]:
        """What sends a message, as it is now, when it is due; see :class:`Scheduled`."""
        unpack = taken(message)

        async def attempt(age: float) -> bool:
            reason = CAPACITY
            try:
                message = unpack()
                with unchanged(message):
                    await send(destination, message)
            except ChannelFull:
                if "!" not in destination and age < self.expiry:
                    return False  # a worker's queue: it may have room soon
            except Exception:
                logger.exception("The message that was due for %s was not sent", destination)
                reason = UNDECODABLE
            else:
                return True
            with self.lock:
                self.statistics.sent += 1
                self.statistics.count(reason, destination)
            self.statistics.report()
            return True

        return attempt

    # The whole

    async def flush(self) -> None:
        """Forget every message, what is scheduled too, every group and every state.

        Consumers stay connected.
        """
        self._schedule.clear()
        with self.lock:
            self._states.clear()
            self._buckets.clear()
        await super().flush()

    async def aclose(self) -> None:
        """Forget everything. The layer can be used again."""
        await self.flush()

    async def close(self) -> None:
        """The well-known name of :meth:`aclose`."""
        await self.aclose()


_Send: TypeAlias = Callable[[str, dict[str, Any]], Coroutine[Any, Any, None]]


def _periodic_key(name: str) -> str:
    """The key of a periodic message; no handle is like it."""
    return f"every {name}"

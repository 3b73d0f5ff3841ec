"""The channels of this process, and which of them are in which group: every layer of ours has it.

A layer with a broker brings messages here; the in-memory layer is little more than this.
"""

import asyncio
import math
import threading
import time
from collections import OrderedDict
from collections.abc import Callable, Mapping
from re import Pattern
from typing import Any
from weakref import WeakSet

from django.core.checks import CheckMessage

from .. import signals
from .._runtime import clock, types
from .._runtime.carried import strip
from .._runtime.faults import blame_client
from .._runtime.forks import in_child
from .._runtime.loops import running_loop
from ..close_codes import CloseCode
from ..exceptions import TooManyGroups
from .base import BaseChannelLayer
from .mailbox import Entry, Mailbox, Overflow, Refusal, check_overflow
from .messages import taken
from .option_checks import Options, check_values
from .options import require_capacities, require_count, require_duration
from .receiving import OverriddenMailbox
from .statistics import CAPACITY, CLOSED, Statistics

__all__ = ["Late", "LocalChannels"]

# How what a mailbox did not keep is counted.
_REASONS: dict[Refusal, str] = {"full": CAPACITY, "dead": CLOSED, "gone": CLOSED}


class Late:
    """A message and the mailboxes that get it as soon as they have room.

    Until then the message counts as neither sent nor pending.
    """

    __slots__ = ("_channels", "entry", "mailboxes")

    def __init__(self, channels: "LocalChannels", entry: Entry, mailboxes: list[Mailbox]) -> None:
        self._channels = channels
        self.entry = entry
        #: Mailboxes that have not got the message yet.
        self.mailboxes = mailboxes

    def deliver(self) -> bool:
        """Put the message into mailboxes that have room now; whether any has."""
        return self._channels.deliver_late(self, math.inf)

    def settle(self) -> None:
        """Put the message into all of them, by their overflow policies."""
        self._channels.deliver_late(self)


class LocalChannels(BaseChannelLayer):
    """Mailboxes and groups, for use from any thread and event loop of the process.

    The arguments are those of :class:`~channels.layers.InMemoryChannelLayer`. Names are taken to
    be valid.
    """

    carries = True

    def __init__(
        self,
        expiry: float = 60,
        group_expiry: float = 86400,
        capacity: int = 100,
        channel_capacity: "Mapping[str | Pattern[str], int] | None" = None,
        overflow: Overflow = "drop_newest",
    ) -> None:
        require_duration("expiry", expiry)
        require_duration("group_expiry", group_expiry)
        require_count("capacity", capacity)
        require_capacities(channel_capacity)
        check_overflow(overflow)
        super().__init__(expiry, capacity, channel_capacity)
        self.group_expiry = group_expiry
        self.overflow: Overflow = overflow
        #: What was sent, delivered and dropped so far.
        self.statistics = Statistics(self)
        #: Guards everything below. Held for a few dictionary operations, never while waiting.
        #: Reentrant, because a thread that holds it may have to collect an abandoned ``receive()``
        #: as garbage, which then gives up its place in line.
        self.lock = threading.RLock()
        self._mailboxes: dict[str, Mailbox] = {}
        self._groups: dict[str, dict[str, float]] = {}
        self._memberships: dict[str, set[str]] = {}
        # When to look for expired messages in each mailbox that no consumer is attached to, and
        # when each membership without a consumer ends. Both in that order, since all are given
        # as long, so that what is due is found without a scan. (A plain dict would scan: it finds
        # its first item by passing over all that were deleted before it.)
        self._unattached: OrderedDict[str, float] = OrderedDict()
        self._leases: OrderedDict[tuple[str, str], float] = OrderedDict()
        _all.add(self)

    @classmethod
    def check(cls, options: Options) -> list[CheckMessage]:
        """What is wrong with these options, their values included."""
        limits = ("capacity", "expiry", "group_expiry")
        return super().check(options) or check_values(cls, options, limits)

    def snapshot(self, message: dict[str, Any]) -> Callable[[], dict[str, Any]]:
        """A function that returns ``message`` as it is now, with copies of objects in it."""
        return taken(message)

    # Channels

    def count_pending(self) -> int:
        """Messages that wait to be read, in all channels together."""
        with self.lock:
            return sum(mailbox.qsize() for mailbox in self._mailboxes.values())

    def qsize(self, channel: str) -> int:
        """How many messages wait in the channel."""
        mailbox = self._mailboxes.get(channel)
        return 0 if mailbox is None else mailbox.qsize()

    def deliver(self, channel: str, entry: Entry) -> bool:
        """Put a message into one mailbox; False, and nothing is counted, if it is full."""
        if signals.layer_message_received.receivers:
            self.statistics.has_received(1, channel=channel)
        with self.lock:
            self._clean_expired()
            mailbox = self._find(channel)
            lost = mailbox.put(entry, running_loop())
            if lost != "full":
                self.statistics.sent += 1
                if lost:
                    self._count_lost(mailbox, lost)
        if self.statistics.unreported:
            self.statistics.report()
        return lost != "full"

    async def receive(self, channel: str) -> dict[str, Any]:
        """The next message of ``channel``, as soon as there is one."""
        with self.lock:
            self._clean_expired()
            mailbox = self._find(channel)
            mailbox.readers += 1
        try:
            self.statistics.report()
            return strip(await mailbox.wait())
        finally:
            with self.lock:
                mailbox.readers -= 1
                self._vanish(mailbox)

    def _find(self, channel: Any) -> Mailbox:
        """The mailbox of ``channel``, made if there is none. The lock is held."""
        mailbox = self._mailboxes.get(channel) if isinstance(channel, str) else None
        if mailbox is None:
            self.require_valid_channel_name(channel)
            mailbox = Mailbox(self, channel, self.get_capacity(channel), self.overflow)
            self._mailboxes[channel] = mailbox
            self._unattached[channel] = clock.now() + self.expiry
        return mailbox

    # Consumers

    def open_mailbox(self, channel: str, wake: Callable[[], None]) -> types.Mailbox:
        """The mailbox of ``channel`` for a consumer on the running event loop.

        If a subclass has its own :meth:`receive`, the consumer's messages pass through that.
        """
        mailbox = self.attach(channel, wake)
        if type(self).receive is not LocalChannels.receive:
            return OverriddenMailbox(self, mailbox, wake)
        return mailbox

    def attach(self, channel: str, wake: Callable[[], None]) -> Mailbox:
        """Attach a consumer on the running event loop to the mailbox of ``channel``.

        Args:
            channel: the consumer's, from :meth:`new_channel`.
            wake: called on that loop when there is a message to take. It must not call the layer.
        """
        with self.lock:
            mailbox = self._find(channel)
            self._unattached.pop(channel, None)
            for group in self._memberships.get(channel, ()):
                self._leases.pop((group, channel), None)
            mailbox.attach(wake)
        if not mailbox.empty():
            wake()
        return mailbox

    async def close_mailbox(self, mailbox: Mailbox) -> None:
        """End a consumer's channel: it leaves every group, and unread messages are dropped."""
        with self.lock:
            self._free(mailbox)
        self.statistics.report()

    def _free(self, mailbox: Mailbox) -> None:
        """Forget a consumer's mailbox, unless callers of receive() wait. The lock is held."""
        channel = mailbox.channel
        mailbox.detach()
        mailbox.discard_all()
        if self._mailboxes.get(channel) is mailbox:
            self._remove_from_groups(channel)
            self._unattached[channel] = clock.now() + self.expiry
            self._vanish(mailbox)

    def waiting_loops(self) -> set[asyncio.AbstractEventLoop]:
        """The event loops of consumers and of callers of ``receive``."""
        with self.lock:
            return {
                loop for mailbox in self._mailboxes.values() for loop in mailbox.waiting_loops()
            }

    # Groups

    def join(self, group: str, channel: str) -> None:
        """:meth:`group_add` with names known to be valid."""
        now = clock.now()
        with self.lock:
            self._clean_expired()
            self._groups.setdefault(group, {})[channel] = time.time()
            self._memberships.setdefault(channel, set()).add(group)
            mailbox = self._mailboxes.get(channel)
            if mailbox is None or not mailbox.attached:
                self._leases.pop((group, channel), None)
                self._leases[group, channel] = now + self.group_expiry
        self.statistics.report()

    def limit_groups(self, channel: str, most: int, exceeded: Callable[[], None]) -> None:
        """Let a consumer's channel be in so many groups at most."""
        mailbox = self._mailboxes.get(channel)
        if mailbox is not None:  # pragma: no branch - a consumer's is there
            mailbox.group_limit = most, exceeded

    def require_group_room(self, group: str, channel: str) -> None:
        """Refuse one group more than a channel may be in.

        Raises:
            TooManyGroups: it would be one. The client is to blame, if it was asking for it.
        """
        mailbox = self._mailboxes.get(channel)
        if mailbox is None or mailbox.group_limit is None:
            return
        most, exceeded = mailbox.group_limit
        groups = self._memberships.get(channel, ())
        if len(groups) >= most and group not in groups:
            exceeded()
            error = TooManyGroups(
                f"This connection is in {most} groups already, which is its groups_per_connection"
            )
            code = CloseCode.TOO_MANY_REQUESTS.value
            raise blame_client(error, code, status=429, told="Too many requests")

    def part(self, group: str, channel: str) -> None:
        """:meth:`group_discard` with names known to be valid."""
        with self.lock:
            self._discard(group, channel)

    def has_members(self, group: str) -> bool:
        """Whether anybody is in the group."""
        return group in self._groups

    def is_in_a_group(self, channel: str) -> bool:
        """Whether the channel is in any group."""
        return channel in self._memberships

    def count_members(self, group: str) -> int:
        """How many channels are in the group."""
        return len(self._groups.get(group, ()))

    def groups_of(self, channel: str) -> list[str]:
        """The groups that the channel is in."""
        with self.lock:
            return list(self._memberships.get(channel, ()))

    def group_sizes(self) -> list[tuple[str, int]]:
        """Every group that has members in this process, and how many."""
        with self.lock:
            return [(group, len(members)) for group, members in self._groups.items()]

    def deliver_to_group(self, group: str, entry: Entry, patience: float = 0.0) -> Late | None:
        """Put a message into the mailbox of every member of a group.

        Args:
            group: its name.
            entry: the message.
            patience: see :meth:`Mailbox.put`.

        Returns:
            What is left to be done later, if ``patience`` is given, or None.
        """
        if signals.layer_message_received.receivers:
            self.statistics.has_received(self.count_members(group), group=group)
        loop = running_loop()
        refused: list[tuple[Mailbox, Refusal]] = []
        with self.lock:
            self._clean_expired()
            members = self._groups.get(group, {})
            get = self._mailboxes.get
            for channel in members:
                mailbox = get(channel) or self._find(channel)
                lost = mailbox.put(entry, loop, patience)
                if lost:
                    refused.append((mailbox, lost))
            self.statistics.sent += len(members)
            late = self._settle(entry, refused) if refused else None
        if self.statistics.unreported:
            self.statistics.report()
        return late

    def deliver_or_drop(self, channel: str, entry: Entry, patience: float = 0.0) -> Late | None:
        """Put a message into one mailbox, and count it as lost if that is full.

        The arguments and the result are those of :meth:`deliver_to_group`.
        """
        if signals.layer_message_received.receivers:
            self.statistics.has_received(1, channel=channel)
        loop = running_loop()
        with self.lock:
            self._clean_expired()
            mailbox = self._find(channel)
            lost = mailbox.put(entry, loop, patience)
            self.statistics.sent += 1
            late = self._settle(entry, [(mailbox, lost)]) if lost else None
        if self.statistics.unreported:
            self.statistics.report()
        return late

    def deliver_late(self, late: Late, patience: float = 0.0) -> bool:
        """Try again to deliver what was left to be done later.

        Returns:
            Whether any mailbox took it, or has no consumer any more.
        """
        loop, mailboxes = running_loop(), late.mailboxes
        refused: list[tuple[Mailbox, Refusal]] = []
        with self.lock:
            for mailbox in mailboxes:
                lost: Refusal | None = "gone"
                if self._mailboxes.get(mailbox.channel) is mailbox:
                    lost = mailbox.put(late.entry, loop, patience)
                if lost:
                    refused.append((mailbox, lost))
            self.statistics.sent += len(mailboxes)
            again = self._settle(late.entry, refused)
            late.mailboxes = again.mailboxes if again is not None else []
        self.statistics.report()
        return len(late.mailboxes) < len(mailboxes)

    def _settle(self, entry: Entry, refused: "list[tuple[Mailbox, Refusal]]") -> Late | None:
        """Count what was not kept, but for what is to be tried again. The lock is held."""
        later = []
        for mailbox, lost in refused:
            if lost == "later":
                later.append(mailbox)
                continue
            if lost == "full":
                mailbox.overflow()
            self._count_lost(mailbox, lost)
        self.statistics.sent -= len(later)
        return Late(self, entry, later) if later else None

    def _count_lost(self, mailbox: Mailbox, lost: Refusal) -> None:
        """Count one message as dropped; a dead consumer's mailbox goes. The lock is held."""
        self.statistics.count(_REASONS[lost], mailbox.channel)
        if lost == "dead":
            self._free(mailbox)

    def _discard(self, group: str, channel: str) -> None:
        """End a membership, if there is one. The lock is held."""
        self._leases.pop((group, channel), None)
        members = self._groups.get(group)
        if members is not None:
            members.pop(channel, None)
            if not members:
                del self._groups[group]
                self.group_emptied(group)
        groups = self._memberships.get(channel)
        if groups is not None:
            groups.discard(group)
            if not groups:
                del self._memberships[channel]

    def group_emptied(self, group: str) -> None:
        """Called with the lock held when the last member of a group has left it."""

    def _left_unread(self, channel: str) -> None:
        """A channel without a consumer has let a message expire, as an abandoned one does.

        It leaves its groups, so that they come to an end in a layer that knows no other sign. The
        lock is held.
        """
        self._remove_from_groups(channel)

    def _remove_from_groups(self, channel: str) -> None:
        """End every membership of a channel. Test suites of projects wrap it under this name."""
        with self.lock:
            for group in tuple(self._memberships.get(channel, ())):
                self._discard(group, channel)

    # Time

    def _clean_expired(self) -> None:
        """Drop what has expired by now. Test suites of projects wrap it under this name.

        A mailbox is checked when the first message it was made for expires, and then once in
        every ``expiry`` seconds. So there are at most as many checks as messages sent.
        """
        now = clock.now()
        with self.lock:
            unattached, leases = self._unattached, self._leases
            for _ in range(len(unattached)):  # each at most once
                channel = next(iter(unattached))
                if unattached[channel] > now:
                    break
                self._look_at(channel, now)
            while leases:
                lease = next(iter(leases))
                if leases[lease] > now:
                    break
                self._discard(*lease)

    def _look_at(self, channel: str, now: float) -> None:
        """Drop what has expired in a mailbox without a consumer. The lock is held."""
        mailbox = self._mailboxes[channel]
        self._unattached[channel] = now + self.expiry
        self._unattached.move_to_end(channel)
        if mailbox.expire(now):
            self._left_unread(channel)
        self._vanish(mailbox)

    def _vanish(self, mailbox: Mailbox) -> None:
        """Forget a mailbox that holds nothing and that nobody reads. The lock is held."""
        needed = mailbox.attached or mailbox.readers or not mailbox.empty()
        if not needed and self._mailboxes.get(mailbox.channel) is mailbox:
            del self._mailboxes[mailbox.channel]
            self._unattached.pop(mailbox.channel, None)

    def _purge(self) -> None:
        """Drop everything that has expired."""
        now = clock.now()
        with self.lock:
            for channel in tuple(self._unattached):
                self._look_at(channel, now)
            self._clean_expired()
        self.statistics.report()

    # The whole

    async def flush(self) -> None:
        """Forget every message and every group. Consumers stay connected."""
        with self.lock:
            for mailbox in tuple(self._mailboxes.values()):
                mailbox.discard_all()
                self._vanish(mailbox)
            self._groups.clear()
            self._memberships.clear()
            self._leases.clear()
        self.statistics.report()


_all: "WeakSet[LocalChannels]" = WeakSet()


def _renew_locks() -> None:
    """In a forked child, where a thread that is not there may have held them."""
    for channels in list(_all):
        channels.lock = threading.RLock()


in_child(_renew_locks)

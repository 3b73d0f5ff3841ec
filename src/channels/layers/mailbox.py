"""One channel's bounded queue of messages in this process, and what happens when it is full."""

import asyncio
import contextlib
import math
from collections import deque
from collections.abc import Callable
from typing import Any, Literal, Protocol, TypeAlias, get_args

from .._runtime import clock
from ..exceptions import SerializationError
from .statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE, Statistics

__all__ = ["GAP", "Entry", "Mailbox", "MailboxOwner", "Overflow", "Refusal", "check_overflow"]

#: The type of what a consumer is told when messages to it may have been lost.
GAP = "layer.gap"

#: What a full mailbox does with one more message: refuse it, make room by dropping the oldest,
#: or give up the consumer: its connection is then closed (with code 1013).
Overflow: TypeAlias = Literal["drop_newest", "drop_oldest", "disconnect"]

#: Why :meth:`Mailbox.put` did not keep a message; "gone" means that its mailbox is no more.
Refusal: TypeAlias = Literal["full", "dead", "later", "gone"]

#: A message under way: when it expires (on the monotonic clock), and what makes a copy of it.
Entry: TypeAlias = tuple[float, Callable[[], dict[str, Any]]]


# Seconds between two gaps, as long as the consumer has other messages to take.
_GAP_PAUSE = 1.0

_FULL = "messages were dropped because the channel was full"
_TOO_OLD = "messages expired before they were read"

# Messages up to which a mailbox is a list. An empty deque occupies 760 bytes, which every idle
# connection would pay; to take the first of a list as short as this costs no more (60 ns).
_SHORT = 256


def check_overflow(overflow: str) -> None:
    """Raise ``ValueError`` unless ``overflow`` names a policy."""
    if overflow not in get_args(Overflow):
        known = ", ".join(get_args(Overflow))
        raise ValueError(f"Unknown overflow policy {overflow!r}; choose one of {known}")


class MailboxOwner(Protocol):
    """What a mailbox needs of the layer that made it."""

    statistics: Statistics
    lock: Any
    expiry: float

    async def close_mailbox(self, mailbox: "Mailbox") -> None:
        """Forget the mailbox, its messages and its group memberships."""


class Mailbox:
    """Messages of one channel, in order, at most ``capacity`` of them.

    A consumer may be attached, whose ``wake`` is called when there is a message to take, and
    callers of ``receive`` may wait in line. :meth:`put` may be called from any thread while the
    owner's lock is held; all else belongs to the reader's event loop.
    """

    __slots__ = (
        "_gap_after",
        "_loop",
        "_overflow",
        "_owner",
        "_queue",
        "_told",
        "_waiters",
        "_wake",
        "behind",
        "capacity",
        "channel",
        "gap",
        "group_limit",
        "overflowed",
        "readers",
    )  # fmt: skip

    def __init__(
        self, owner: MailboxOwner, channel: str, capacity: int, overflow: Overflow
    ) -> None:
        self.channel = channel
        self.capacity = capacity
        #: Set once under the policy "disconnect"; the reader is to be given up.
        self.overflowed = False
        #: Why messages may have been lost, until the consumer has been told.
        self.gap: str | None = None
        #: Whether a message was lost since the consumer was last told of a gap.
        self.behind = False
        #: Callers of ``receive`` that are under way.
        self.readers = 0
        #: How many groups it may be in, and what to call when it wants to join another; or None.
        self.group_limit: tuple[int, Callable[[], None]] | None = None
        # How many messages the consumer takes before it is told of the gap, and when it was told
        # of the one before.
        self._gap_after = 0
        self._told = -math.inf
        self._owner = owner
        self._overflow = overflow
        self._queue: list[Entry] | deque[Entry] = [] if capacity <= _SHORT else deque()
        self._waiters: deque[asyncio.Future[None]] | None = None
        self._wake: Callable[[], None] | None = None
        self._loop: asyncio.AbstractEventLoop | None = None

    def qsize(self) -> int:
        """How many messages wait."""
        return len(self._queue)

    def empty(self) -> bool:
        """Whether no message waits."""
        return not self._queue

    # Writing

    def put(
        self, entry: Entry, loop: "asyncio.AbstractEventLoop | None", patience: float = 0.0
    ) -> Refusal | None:
        """Append a message and wake the reader. The owner's lock is held.

        Args:
            entry: the message.
            loop: the event loop that runs in the calling thread, if one does.
            patience: the caller can come back later, and would do so if somebody reads this mailbox
                and is to be waited for: has lost nothing of late, and holds no message that is
                older than these seconds.

        Returns:
            None, or why this message was not kept: the mailbox is ``"full"``, or so full that the
            caller had better come back ``"later"``, or its consumer's event loop is ``"dead"``.
            Counting it is left to the caller; what had to make room for it has been counted.
        """
        queue = self._queue
        if self._wake is not None and self._loop is not loop and not self._alive():
            return "dead"
        if len(queue) >= self.capacity and not self.expire(now := clock.now()):
            if patience and self._is_waited_for(now, patience):
                return "later"
            if self._overflow != "drop_oldest" or not queue:
                if self._overflow == "disconnect" and self._wake is not None:
                    self.overflowed = True
                    self._notify(loop)
                return "full"
            del queue[0]
            self._owner.statistics.count(CAPACITY, self.channel)
            self._lose(_FULL, 0)
        queue.append(entry)
        # The consumer takes until nothing is left, so it need be told of the first one only.
        if self._wake is not None and len(queue) == 1:
            self._notify(loop)
        # Its own handler may be waiting in line, so these are called whether it is told or not.
        if self._waiters:
            self._call_next(loop)
        return None

    def _is_waited_for(self, now: float, patience: float) -> bool:
        if self.behind or self.overflowed or not self._queue:
            return False
        if self._wake is None and not self.readers and self._waiters is None:
            return False  # nobody has ever waited for anything here
        age = now - (self._queue[0][0] - self._owner.expiry)
        return not age >= patience  # which is not known if messages never expire

    def _alive(self) -> bool:
        return self._loop is not None and not self._loop.is_closed()

    def _notify(self, loop: "asyncio.AbstractEventLoop | None") -> None:
        """Wake the attached consumer, from whichever thread."""
        wake, own = self._wake, self._loop
        if wake is None or own is None:  # pragma: no cover - callers have looked
            return
        if own is loop:
            wake()
        else:
            with contextlib.suppress(RuntimeError):  # its loop has been closed this very moment
                own.call_soon_threadsafe(wake)

    def _call_next(self, loop: "asyncio.AbstractEventLoop | None") -> None:
        """Wake the first caller in line that has a running event loop. The owner's lock is held."""
        waiters = self._waiters
        while waiters:
            waiter = waiters.popleft()
            own = waiter.get_loop()
            if own is loop:
                if not waiter.done():
                    waiter.set_result(None)
                    return
            elif not own.is_closed():
                try:
                    own.call_soon_threadsafe(_resolve, waiter)
                except RuntimeError:  # pragma: no cover - it has been closed this very moment
                    continue
                return

    # Reading

    def attach(self, wake: Callable[[], None]) -> None:
        """Attach a consumer: ``wake`` is called on the running event loop when a message comes.

        The owner's lock is held, now and whenever ``wake`` is called: it must not call the layer.
        """
        self._loop = asyncio.get_running_loop()
        self._wake = wake

    @property
    def attached(self) -> bool:
        """Whether a consumer reads this mailbox."""
        return self._wake is not None

    def take(self, gaps: bool = True) -> dict[str, Any] | None:
        """The oldest message that has not expired, or None.

        Args:
            gaps: the news of a gap counts as a message. Only the attached consumer wants it.
        """
        queue = self._queue
        while True:
            if gaps and self.gap is not None:
                told = self.tell_of_gap()
                if told is not None:
                    return told
            if not queue:
                return None
            now = clock.now()
            with self._owner.lock:
                if not queue:
                    continue
                deadline, unpack = queue[0]
                del queue[0]
                if deadline > now:
                    self._owner.statistics.delivered += 1
                    reason = None
                else:
                    reason = EXPIRED
                    self._owner.statistics.count(reason, self.channel)
                    self._lose(_TOO_OLD, 0)
            if reason is None:
                try:
                    return unpack()
                except SerializationError:
                    reason = UNDECODABLE
                    with self._owner.lock:
                        self._owner.statistics.delivered -= 1
                        self._owner.statistics.count(reason, self.channel)
            self._owner.statistics.report()

    async def wait(self) -> dict[str, Any]:
        """The oldest message, once there is one. Giving up the wait loses nothing."""
        while True:
            message = self.take(gaps=False)
            if message is not None:
                return message
            waiter: asyncio.Future[None] = asyncio.get_running_loop().create_future()
            with self._owner.lock:
                if self._queue:
                    continue
                if self._wake is None:
                    self.behind = False
                if self._waiters is None:
                    self._waiters = deque()
                self._waiters.append(waiter)
            try:
                await waiter
            except BaseException:
                self._leave_line(waiter)
                raise

    def _leave_line(self, waiter: "asyncio.Future[None]") -> None:
        """Give up waiting; a call that came meanwhile goes to the next in line."""
        with self._owner.lock:
            waiters = self._waiters
            if waiters is None:  # pragma: no cover - the waiter is in line, or was
                return
            try:
                waiters.remove(waiter)
            except ValueError:
                if self._queue:
                    self._call_next(None)

    # Gaps

    def announce_gap(self, reason: str) -> bool:
        """Tell the attached consumer, before its next message, that it may have missed some.

        Returns:
            Whether there is one.
        """
        with self._owner.lock:
            if self._wake is None:
                return False
            self._gap_after, self._told = 0, -math.inf
            if self.gap is None:
                self.gap = reason
                self._notify(None)
            return True

    def overflow(self) -> None:
        """Tell the attached consumer that a message found no room. The owner's lock is held.

        The consumer is told when it has taken what was there before, and once for all that is
        lost until then.
        """
        self._lose(_FULL, len(self._queue))

    def _lose(self, reason: str, after: int) -> None:
        """Tell the consumer, after so many messages, that one was lost. The lock is held."""
        self.behind = True
        if self._wake is None or self.overflowed:
            return
        if self.gap is None:
            self.gap, self._gap_after = reason, after
            if not self._queue:
                self._notify(None)
        elif after < self._gap_after:
            self._gap_after = after

    def tell_of_gap(self) -> dict[str, Any] | None:
        """The news of the gap, once it is time for it; before that, a message is to be taken."""
        with self._owner.lock:
            if self.gap is None:
                return None
            now = clock.now()
            if self._queue:
                if self._gap_after > 0:
                    self._gap_after -= 1
                    return None
                if now - self._told < _GAP_PAUSE:
                    return None
            told = {"type": GAP, "reason": self.gap}
            self.gap, self.behind, self._told = None, False, now
            return told

    def waiting_loops(self) -> list[asyncio.AbstractEventLoop]:
        """The event loops of the consumer and of callers in line. The owner's lock is held."""
        callers = [w.get_loop() for w in self._waiters or () if not w.done()]
        return callers if self._loop is None else [self._loop, *callers]

    # The end

    def expire(self, now: float) -> int:
        """Drop messages that have expired, and return how many. The owner's lock is held."""
        queue, count = self._queue, 0
        while queue and queue[0][0] <= now:
            del queue[0]
            count += 1
        if count:
            self._owner.statistics.count(EXPIRED, self.channel, count)
            self._lose(_TOO_OLD, 0)
        return count

    def discard_all(self) -> None:
        """Drop every message. The owner's lock is held."""
        count = len(self._queue)
        if count:
            self._queue.clear()
            self._owner.statistics.count(CLOSED, self.channel, count)

    def detach(self) -> None:
        """Detach the consumer. The owner's lock is held."""
        self._wake = None
        self._loop = None
        self.gap = None
        self.behind = False

    async def close(self) -> None:
        """Drop what is undelivered, leave every group, and free the channel."""
        await self._owner.close_mailbox(self)


def _resolve(waiter: "asyncio.Future[None]") -> None:
    if not waiter.done():
        waiter.set_result(None)

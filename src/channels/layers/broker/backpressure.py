"""Backpressure: a reader waits for mailboxes that are full, so that a backlog is not lost.

After a broker or a process stood still, more comes at once than mailboxes hold, though consumers
read all the time. So a reader pauses while a mailbox that is to get a message is full, and lets
consumers take what they hold. What it has not read waits at the server meanwhile, and so do the
messages of others. Hence the bounds: no consumer is waited for that takes nothing, that has lost
something already, or whose mailbox was full in ordinary times, which is what the overflow policy
is for; and all pauses together are short, or as long as what there is to catch up with.
"""

import asyncio
import math
from collections.abc import Callable

from ..._runtime.clock import now
from ..._runtime.timers import Timer
from ..local import Late

__all__ = ["Backpressure"]

# Seconds that a message has been in a mailbox, at most, if its consumer reads.
_FRESH = 1.0

# Seconds of delay after which there is something to catch up with, and for how many of them, at
# most, a reader pauses for it.
_DELAY, _LONGEST = 1.0, 10.0

# Seconds of pauses in ordinary times, such as for a burst of messages, and the share of the time
# by which they are earned anew.
_ORDINARY, _SHARE = 2.0, 0.1

# Seconds for which a consumer may take nothing: a share of what is left, within these bounds.
_STALLED = (0.25, 1.0)

# Seconds between two looks at the mailboxes. Nothing is counted for a look in each turn of the
# event loop, which is enough for consumers that need nothing but the processor.
_FIRST_PAUSE, _LAST_PAUSE = 0.001, 0.016

# What is counted of a pause that took longer, because the event loop or the machine was busy and
# the consumers that are waited for had no turn: the less the longer it took, but no less than this
# share, for a process that is always busy must not wait for ever.
_LEAST_SHARE = 0.25


class Backpressure:
    """When a reader pauses, and for how long. Belongs to it, on the running event loop.

    Attributes:
        seconds: what is to be said as ``patience`` to :meth:`~channels.layers.mailbox.Mailbox.put`.
        catching_up: whether :meth:`rest` is to be called when the reader has caught up.
        pausing: whether the reader is to read nothing now.
    """

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self.seconds = _FRESH
        self.catching_up = self.pausing = False
        self._left = _ORDINARY  # seconds of pauses
        self._since = now()  # when they were counted
        self._until = -math.inf  # until when an outage is taken to be the reason for bursts
        # The message that is late, and what is to be called when it no longer is.
        self._waiting: tuple[Late, Callable[[], None]] | None = None
        self._stalled = 0.0
        self._timer: Timer | asyncio.Handle | None = None

    def note_delay(self, seconds: float) -> None:
        """What comes now may have waited so long, and not because of a pause of ours."""
        if seconds > _DELAY:
            self.catching_up, self.seconds = True, math.inf
            bounded = min(seconds, _LONGEST)
            self._left = max(self._left, bounded)
            self._until = max(self._until, now() + bounded)

    def wait(self, late: Late, go_on: Callable[[], None]) -> bool:
        """Wait until a message can be delivered, or is not to be waited for any longer.

        Args:
            late: the message, and the mailboxes that are full.
            go_on: called then, unless the result is False.

        Returns:
            Whether the reader is to pause. If not, the message has been delivered or dropped.
        """
        if not self.catching_up:
            self.catching_up, self.seconds = True, math.inf
            earned = (now() - self._since) * _SHARE
            self._left = min(self._left + earned, _ORDINARY)
        if self._left <= 0:
            late.settle()
            return False
        self._waiting, self._stalled = (late, go_on), 0.0
        self.pausing = True
        self._look_again(late, go_on, 0.0)
        return True

    def _look_again(self, late: Late, go_on: Callable[[], None], pause: float) -> None:
        if pause:
            self._timer = Timer(pause, self._look, late, go_on, pause, now())
        else:
            self._timer = self._loop.call_soon(self._look, late, go_on, 0.0, now())

    def _look(self, late: Late, go_on: Callable[[], None], pause: float, since: float) -> None:
        """See whether there is room by now, after a pause that began at ``since``."""
        progress = late.deliver()
        took = max(now() - since, pause)
        counted = pause * max(pause / took, _LEAST_SHARE) if pause else 0.0
        self._left -= counted
        self._stalled = 0.0 if progress else self._stalled + counted
        shortest, longest = _STALLED
        patience = min(max(self._left / 4, shortest), longest)
        if late.mailboxes and (self._left <= 0 or self._stalled >= patience):
            late.settle()
        if late.mailboxes:
            longer = pause * 2 if took <= pause * 2 else pause
            following = 0.0 if progress else min(max(longer, _FIRST_PAUSE), _LAST_PAUSE)
            self._look_again(late, go_on, following)
        else:
            self._continue(go_on)

    def _continue(self, go_on: Callable[[], None]) -> None:
        self._waiting = self._timer = None
        self.pausing = False
        go_on()

    def rest(self) -> None:
        """The reader has caught up, without a pause."""
        moment = now()
        if moment >= self._until:
            self.catching_up, self.seconds = False, _FRESH
            self._left, self._since = min(self._left, _ORDINARY), moment

    def hurry(self) -> None:
        """Wait for nobody any more, until the reader has caught up."""
        self._left, self._until = 0.0, -math.inf
        self.catching_up = True
        waiting, timer = self._waiting, self._timer
        if timer is not None:
            timer.cancel()
        if waiting is not None:
            late, go_on = waiting
            late.settle()
            self._continue(go_on)

    def stop(self) -> None:
        """The reader has ended: what is left is delivered or dropped."""
        if self._timer is not None:
            self._timer.cancel()
        waiting, self._waiting, self._timer = self._waiting, None, None
        self.pausing = False
        if waiting is not None:
            late, _ = waiting
            late.settle()

"""Places: of each name so many for all processes together, such as connections of one user.

The broker keeps, for each name, how many each *holder* has. A holder is one event loop of a
process, and what it has counts for as long as its lease, which is renewed a few times in that time,
by one call for everything that it has. So a process that is killed, or cut off, holds nothing when
its lease has ended.

A call always says how many of a place the holder has, and never how many more or fewer. So it may
be repeated, and whatever became of a call, the next one puts it right: names about which the broker
may be wrong are *unsettled*, and are told again. When the broker has forgotten a holder, that one
tells everything again under another name, and what was known of the old one ends with its lease.
"""

import asyncio
import logging
import uuid
from collections import Counter
from collections.abc import Iterable, Mapping
from itertools import islice
from typing import Protocol

from ..._runtime import backstage, clock, lograte, timers
from ...exceptions import BrokerError, BrokerUnavailable
from .transport import Held

__all__ = ["HoldPlaces", "Places"]

logger = logging.getLogger("channels.layers")

# How often a lease is renewed while it lasts.
_RENEWALS = 6

# Seconds for which a broker keeps what is known of a place after it was told last. Twice in that
# time it is told again, so that what nobody holds any more, and nobody asks for, is forgotten.
_KEPT = 600.0

# Names that the broker is told of at once.
_CHUNK = 500

# Seconds for which the broker may still be told when it is over.
_CLOSING_PATIENCE = 2.0

# How often a broker may forget a holder that has just told it everything.
_ATTEMPTS = 3


class HoldPlaces(Protocol):
    """What asks the broker; see ``hold_places`` of :class:`~.transport.Transport`."""

    async def __call__(
        self,
        holder: str,
        numbers: Mapping[str, tuple[int, int | None]],
        *,
        lease: float,
        keep: float,
        former: str | None,
    ) -> Held:
        """Say how many places a holder has, and renew its lease."""


class Places:
    """What one event loop holds. To be used on that loop alone.

    Args:
        hold: asks the broker.
        lease: seconds for which it counts after the last sign of life.
    """

    def __init__(self, hold: HoldPlaces, lease: float) -> None:
        self._hold = hold
        self._lease = lease
        self._holder = uuid.uuid4().hex
        self._former: str | None = None
        # How many of each place it holds, or is asking for.
        self._numbers: dict[str, int] = {}
        # How many calls ask for it at the moment, and those of which another call has told a number
        # that includes what they ask for.
        self._asked: Counter[str] = Counter()
        self._crossed: set[str] = set()
        # Where the broker may have another number: in the order in which they are to be told.
        self._unsettled: dict[str, None] = {}
        # When the broker was told of each that is held, the longest ago first.
        self._told: dict[str, float] = {}
        self._renewal_due = False
        self._timer: timers.Timer | None = None
        self._task: asyncio.Task[None] | None = None

    # For those who want places

    async def take(self, places: Mapping[str, int]) -> str | None:
        """Take one of each place, or none.

        Args:
            places: how many of each all processes may hold together, by name.

        Returns:
            None, or the name of a place of which there are too many already.

        Raises:
            BrokerError: the broker refuses, or does not answer; nothing is held.
        """
        self._cross(places)
        self._asked.update(places.keys())
        self._change(places, 1)
        try:
            held = await self._ask(places)
        except BaseException:
            self._has_asked(places)
            self.give(places)  # whatever the broker makes of the call
            raise
        crossed = self._has_asked(places)
        if held.full is None:
            self._note_told(places)
            return None
        self._change(places, -1)
        self._unsettle(crossed.union(held.changed))
        return held.full

    def _cross(self, names: Iterable[str]) -> None:
        """Note for which names a number is told while another call asks for one more."""
        if self._asked:
            self._crossed.update(name for name in names if name in self._asked)

    def _has_asked(self, names: Iterable[str]) -> set[str]:
        """A call has been answered. Returns for which names others were under way meanwhile."""
        asked, crossed = self._asked, self._crossed.intersection(names)
        for name in names:
            asked[name] -= 1
            if not asked[name]:
                del asked[name]
                self._crossed.discard(name)
        return crossed

    def add(self, names: Iterable[str]) -> None:
        """Hold one more of each place, although there may be too many. The broker is told soon."""
        names = list(names)
        self._change(names, 1)
        self._unsettle(names)

    def give(self, names: Iterable[str]) -> None:
        """Hold one less of each place. The broker is told soon, of many at once."""
        names = list(names)
        self._change(names, -1)
        self._unsettle(names)

    def _change(self, names: Iterable[str], by: int) -> None:
        numbers = self._numbers
        for name in names:
            number = numbers.get(name, 0) + by
            if number > 0:
                numbers[name] = number
            else:
                numbers.pop(name, None)

    # The broker

    async def _ask(self, places: Mapping[str, int]) -> Held:
        for _ in range(_ATTEMPTS):
            holder = self._holder
            held = await self._tell(
                {name: (self._numbers.get(name, 1), most) for name, most in places.items()}
            )
            if held.known:
                return held
            self._was_forgotten(holder)
        raise _forgets()

    async def _tell(self, numbers: Mapping[str, tuple[int, int | None]]) -> Held:
        if self._timer is None:
            self._timer = timers.Timer(self._lease / _RENEWALS, self._renew)
        return await self._hold(
            self._holder, numbers, lease=self._lease, keep=_KEPT, former=self._former
        )

    def _was_forgotten(self, holder: str) -> None:
        """Go on under another name, and tell everything again."""
        if holder != self._holder:
            return  # another call has found out first
        self._former, self._holder = holder, uuid.uuid4().hex
        if self._told and self._numbers:
            lograte.log(
                logger, logging.WARNING, "places",
                "The broker has forgotten what this process has open, and is told of %d limits "
                "again. Meanwhile they may have let in too many",
                len(self._numbers),
            )  # fmt: skip
        self._told.clear()
        self._unsettled.clear()
        self._unsettle(self._numbers)

    def _unsettle(self, names: Iterable[str]) -> None:
        self._unsettled.update(dict.fromkeys(names))
        if self._unsettled:
            self._work_soon()

    def _note_told(self, names: Iterable[str]) -> None:
        now = clock.now()
        for name in names:
            self._told.pop(name, None)
            if name in self._numbers:
                self._told[name] = now

    async def aclose(self) -> None:
        """Hold nothing any more."""
        self._numbers.clear()
        self._unsettle(self._told)
        if self._task is not None:
            await asyncio.wait((self._task,), timeout=_CLOSING_PATIENCE)
        if self._timer is not None:
            self._timer.cancel()

    # What goes on beside

    def _renew(self) -> None:
        """The lease is to be renewed, if there is anything to keep."""
        self._timer = None
        busy = self._task is not None and not self._task.done()
        if not self._numbers and not self._unsettled and not busy:
            self._former, self._holder = self._holder, uuid.uuid4().hex
            return
        self._timer = timers.Timer(self._lease / _RENEWALS, self._renew)
        self._renewal_due = True
        self._work_soon()

    def _work_soon(self) -> None:
        if self._task is None or self._task.done():
            self._task = backstage.start(self._work())

    async def _work(self) -> None:
        """Tell the broker what it may not know. What fails is tried again with the next renewal."""
        names: list[str] = []
        attempts = 0
        try:
            while self._unsettled or self._renewal_due:
                if self._renewal_due:
                    self._renewal_due = False
                    self._repeat_old()
                    names = []
                else:
                    names = list(islice(self._unsettled, _CHUNK))
                for name in names:
                    del self._unsettled[name]
                self._cross(names)
                holder = self._holder
                numbers = {name: (self._numbers.get(name, 0), None) for name in names}
                held = await self._tell(numbers)
                if held.known:
                    self._note_told(names)
                else:
                    attempts += 1
                    self._was_forgotten(holder)
                    if attempts == _ATTEMPTS:
                        raise _forgets()
        except Exception as error:  # noqa: BLE001 - of whatever a transport asks its broker by
            self._unsettled.update(dict.fromkeys(names))
            if not isinstance(error, BrokerUnavailable):  # of which the connection tells the log
                lograte.log(
                    logger, logging.WARNING, "untold",
                    "The broker could not be told what this process has open: %s: %s",
                    type(error).__name__, error,
                )  # fmt: skip

    def _repeat_old(self) -> None:
        """Tell again what the broker was told long ago, before it forgets the place."""
        now = clock.now()
        for name, told in self._told.items():
            if now - told < _KEPT / 2:
                break
            self._unsettled[name] = None


def _forgets() -> BrokerError:
    return BrokerError("The broker forgets at once what it was told of open connections")

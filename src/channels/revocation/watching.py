"""Looks at what is connected: soon after something has changed, at expiry, and now and then."""

import asyncio
import itertools
import logging
import math
from collections.abc import Collection, Iterable
from contextvars import Context
from datetime import UTC, timedelta
from typing import Any

from django.utils import timezone

from .._runtime import backstage, lograte, timers
from .._runtime.connections import Drainable, connections, when_first
from .._runtime.identity import session_of, when_signed_in
from .._runtime.per_loop import PerLoop
from .._runtime.types import Scope
from ..close_codes import CloseCode
from .finding import end, find, renamed
from .plan import Plan
from .validity import acceptable, expiry_of, is_signed_in_by_session, refused, vanished

__all__ = ["Watch", "signed_in", "start", "watch", "watches"]

logger = logging.getLogger("channels.revocation")

# Seconds between two looks at what has begun and what expires.
_TICK = 1.0

# Seconds after which a change is looked at: the request that makes it may not be over yet, and the
# session that has changed its own user's password gets its new key in the meantime. The last look
# decides.
_LOOKS = (0.2, 1.0)

# Seconds after which it is certain that a session which is gone has not got another key: that has
# been told by then.
_SETTLED = 0.7

# Connections that are asked for at a time.
_BATCH = 100

# Seconds within which those of nobody are looked at again: a consumer may have found out meanwhile
# whose it is, and has put that into its scope.
_AGAIN = 30.0

# Sessions that are asked for with each look, of stores that do not tell when they expire.
_POLLED = 250


class Watch:
    """Looks at the connections of one event loop."""

    def __init__(self) -> None:
        self._known: set[Drainable] = set()
        # When (of the clock of the day) each expires, as far as it is known.
        self._due: dict[Drainable, float] = {}
        # Those of stores that do not tell: they are asked for again and again.
        self._polled: dict[Drainable, None] = {}
        # In turn, the next one first; and those that there is nothing to ask about yet. None of
        # these keeps one that has ended.
        self._turn: dict[Drainable, None] = {}
        self._aside: dict[Drainable, None] = {}
        self._timer: timers.Timer | None = None
        connections.get().forgetting.append(self._forget)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to look, until nothing is connected."""
        if self._timer is None:
            self._timer = timers.Timer(_TICK, self._tick)

    def run(self, work: Any) -> None:
        """Run a coroutine beside the rest, and in the context of nothing else.

        A request whose view began a stream has a thread of its own, which is gone when it is over.
        """
        loop = asyncio.get_running_loop()
        task = backstage.untold(loop.create_task(work, context=Context()))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tick(self) -> None:
        self._timer = None
        if connections.get().open:
            self.run(self._look())

    def _forget(self, gone: Drainable) -> None:
        """Keep nothing of a connection that has ended."""
        self._known.discard(gone)
        for kept in (self._due, self._polled, self._turn, self._aside):
            kept.pop(gone, None)

    def look_again(self, scope: Scope) -> None:
        """Look at the connection that has this scope as if it had just begun."""
        here = connections.get().open
        self._known.difference_update([found for found in here if found.scope is scope])

    async def _look(self) -> None:
        """One look: at what is new, at what is due, and at some of the rest."""
        try:
            plan = Plan.in_force()
            if plan is not None:
                await self._look_at(plan)
        except Exception as error:  # noqa: BLE001 - the next look may succeed
            text = "A look at whether users are still signed in has failed: %r"
            lograte.log(logger, logging.ERROR, "look", text, error, exc_info=error)
        finally:
            if self._timer is None and connections.get().open:
                self._timer = timers.Timer(_TICK, self._tick)

    async def _look_at(self, plan: Plan) -> None:
        here = connections.get().open
        new = self._sort(here - self._known)
        self._known = set(here)
        await self._note_expiry(new)
        now = timezone.now().timestamp()
        due = [found for found, when in self._due.items() if when <= now]
        for found in due:
            del self._due[found]
        some = [
            *due,
            *(await vanished(_rotate(self._polled, _POLLED))),
            *_rotate(self._turn, math.ceil(len(self._turn) * _TICK / plan.interval)),
        ]
        suspects = await self._refused(some)
        if suspects:
            self.run(self._decide(suspects, _SETTLED))
        await self._note_expiry([found for found in due if found in here], expired=True)

    def _sort(self, begun: set[Drainable]) -> list[Drainable]:
        """Those that are to be looked at from now on: of the ones that have begun, and others."""
        count = math.ceil(len(self._aside) * _TICK / _AGAIN)
        some = begun.union(_rotate(self._aside, count))
        new = [found for found in some if acceptable(found)]
        self._aside |= dict.fromkeys(some)
        for found in new:
            del self._aside[found]
            self._turn[found] = None
        return new

    async def _note_expiry(self, new: list[Drainable], *, expired: bool = False) -> None:
        """Find out when these expire."""
        by_session = [found for found in new if is_signed_in_by_session(found)]
        for start in range(0, len(by_session), _BATCH):
            some = by_session[start : start + _BATCH]
            dates = await expiry_of([session_of(found.scope) for found in some])
            for found, date in zip(some, dates, strict=True):
                if found not in connections.get().open:  # any more
                    continue
                if renamed(found):  # nothing is known of the session under its new key
                    age = session_of(found.scope).get_expiry_age()
                    date = timezone.now() + timedelta(seconds=0 if expired else age)
                if date is None:
                    if not expired:
                        self._polled[found] = None
                    continue
                if timezone.is_naive(date):
                    date = timezone.make_aware(date)
                due = date.astimezone(UTC).timestamp()
                if expired and due <= timezone.now().timestamp():
                    self._end({found: "the session has expired"})
                else:
                    self._due[found] = due

    async def check(self, some: Iterable[Drainable]) -> dict[Drainable, str]:
        """End those of some connections that may not go on. Returns which, and why."""
        ended = await self._refused(some)
        self._end(ended)
        return ended

    async def _refused(self, some: Iterable[Drainable]) -> dict[Drainable, str]:
        waiting = list(dict.fromkeys(found for found in some if acceptable(found)))
        found: dict[Drainable, str] = {}
        for start in range(0, len(waiting), _BATCH):
            found |= await refused(waiting[start : start + _BATCH])
        return found

    def _end(self, found: dict[Drainable, str]) -> None:
        for connection, reason in found.items():
            end([connection], CloseCode.UNAUTHORIZED, reason)

    async def look_soon(self, by: str, values: Collection[str] = ()) -> None:
        """Look at what is connected, when what has changed is in place."""
        first, last = _LOOKS
        await timers.sleep(first)
        suspects = await self._refused(find(by, values))
        if suspects:
            await self._decide(suspects, last - first)

    async def _decide(self, suspects: Iterable[Drainable], seconds: float) -> None:
        """Look again in so many seconds, when what has changed has been told everywhere."""
        await timers.sleep(seconds)
        here = connections.get().open
        await self.check(found for found in suspects if found in here)


def _rotate(queue: dict[Drainable, None], count: int) -> list[Drainable]:
    """The next ones of a queue, which go to its end."""
    found = list(itertools.islice(queue, count))
    for connection in found:
        del queue[connection]
        queue[connection] = None
    return found


#: The watch of each event loop.
watches = PerLoop(Watch)


def start() -> None:
    """Begin to look at the connections of the running event loop."""
    watches.get().start()


def signed_in(scope: Scope) -> None:
    """Somebody has signed in on a connection that is open. From whichever thread."""
    for loop, watch in watches.all():
        if loop.is_running():
            loop.call_soon_threadsafe(watch.look_again, scope)


def watch() -> None:
    """Look at connections from now on."""
    if start not in when_first:
        when_first.append(start)
    if signed_in not in when_signed_in:
        when_signed_in.append(signed_in)

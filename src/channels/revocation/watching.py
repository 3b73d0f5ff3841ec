"""Looks at what is connected: soon after something has changed, at expiry, and now and then."""

import asyncio
import itertools
import logging
import math
from collections.abc import Iterable
from datetime import UTC, timedelta
from typing import Any

from django.utils import timezone

from .. import control
from .._runtime import backstage, lograte, timers
from .._runtime.connections import Drainable, connections, when_first
from .._runtime.identity import session_of
from .._runtime.per_loop import PerLoop
from ..close_codes import CloseCode
from ..control import handlers
from .finding import RENAMED, end, find
from .plan import Plan
from .validity import acceptable, expiry_of, is_signed_in_by_session, refused, vanished

__all__ = ["Watch", "start", "watch", "watches"]

logger = logging.getLogger("channels.revocation")

# Seconds between two looks at what has begun and what expires.
_TICK = 1.0

# Seconds after which a change is looked at: the request that makes it may not be over yet, and the
# session that has changed its own user's password gets its new key in the meantime. The last look
# decides.
_LOOKS = (0.2, 1.0)

# Connections that are asked for at a time.
_BATCH = 100

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
        # In turn, the next one first. Neither keeps one that has ended.
        self._turn: dict[Drainable, None] = {}
        self._timer: timers.Timer | None = None
        connections.get().forgetting.append(self._forget)
        self._tasks: set[asyncio.Task[Any]] = set()

    def start(self) -> None:
        """Begin to look, until nothing is connected."""
        if self._timer is None:
            self._timer = timers.Timer(_TICK, self._tick)

    def run(self, work: Any) -> None:
        """Run a coroutine beside the rest."""
        task = backstage.untold(asyncio.get_running_loop().create_task(work))
        self._tasks.add(task)
        task.add_done_callback(self._tasks.discard)

    def _tick(self) -> None:
        self._timer = None
        if connections.get().open:
            self.run(self._look())

    def _forget(self, gone: Drainable) -> None:
        """Keep nothing of a connection that has ended."""
        self._known.discard(gone)
        for kept in (self._due, self._polled, self._turn):
            kept.pop(gone, None)

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
        new = [found for found in here - self._known if acceptable(found)]
        self._known = set(here)
        await self._note_expiry(new)
        now = timezone.now().timestamp()
        due = [found for found, when in self._due.items() if when <= now]
        for found in due:
            del self._due[found]
        self._turn |= dict.fromkeys(found for found in new if found in here)
        some = [
            *due,
            *(await vanished(_rotate(self._polled, _POLLED))),
            *_rotate(self._turn, math.ceil(len(self._turn) * _TICK / plan.interval)),
        ]
        await self.check(some)
        await self._note_expiry([found for found in due if found in here], expired=True)

    async def _note_expiry(self, new: list[Drainable], *, expired: bool = False) -> None:
        """Find out when these expire."""
        by_session = [found for found in new if is_signed_in_by_session(found)]
        for start in range(0, len(by_session), _BATCH):
            some = by_session[start : start + _BATCH]
            dates = await expiry_of([session_of(found.scope) for found in some])
            now = timezone.now().timestamp()
            for found, date in zip(some, dates, strict=True):
                if found not in connections.get().open:  # any more
                    continue
                if RENAMED in found.scope:  # nothing is known of the session under its new key
                    age = session_of(found.scope).get_expiry_age()
                    date = timezone.now() + timedelta(seconds=0 if expired else age)
                if date is None:
                    if not expired:
                        self._polled[found] = None
                    continue
                if timezone.is_naive(date):
                    date = timezone.make_aware(date)
                due = date.astimezone(UTC).timestamp()
                if expired and due <= now:
                    self._end({found: "the session has expired"})
                else:
                    self._due[found] = due

    async def check(self, some: Iterable[Drainable]) -> dict[Drainable, str]:
        """End those of some connections that may not go on. Returns which, and why."""
        waiting = list(dict.fromkeys(found for found in some if acceptable(found)))
        ended: dict[Drainable, str] = {}
        for start in range(0, len(waiting), _BATCH):
            ended |= await refused(waiting[start : start + _BATCH])
        self._end(ended)
        return ended

    def _end(self, found: dict[Drainable, str]) -> None:
        for connection, reason in found.items():
            end([connection], CloseCode.UNAUTHORIZED, reason)

    async def look_soon(self, by: str, value: str | None) -> None:
        """Look at what is connected, when what has changed is in place."""
        first, last = _LOOKS
        await timers.sleep(first)
        suspects = await refused([c for c in find(by, value) if acceptable(c)])
        if suspects:
            await timers.sleep(last - first)
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


# Commands. Each is handled on every event loop that serves connections.


async def _session_ended(value: str) -> None:
    """A session is gone from its store, or about to go."""
    if Plan.in_force() is None:
        return
    await timers.sleep(0.05)  # for the connection that has signed itself out
    end(filter(acceptable, find("session", value)), CloseCode.UNAUTHORIZED, "signed out")


def _session_renamed(old: str, new: str) -> None:
    """A session has got another key."""
    found = [connection for connection in find("session", old) if acceptable(connection)]
    for connection in found:
        connection.scope[RENAMED] = new
    if found:
        watches.get().run(watches.get().check(found))


def _user_changed(value: str) -> None:
    """A user was changed or deleted."""
    if Plan.in_force() is not None:
        watches.get().run(watches.get().look_soon("user", value))


def _gap(reason: str) -> None:
    """Commands may have been missed: look at everything."""
    if Plan.in_force() is not None:
        watches.get().run(watches.get().look_soon("all", None))


def watch() -> None:
    """Look at connections from now on."""
    if start not in when_first:
        when_first.append(start)
    control.register("session_ended", _session_ended)
    control.register("session_renamed", _session_renamed)
    control.register("user_changed", _user_changed)
    control.register(handlers.GAP, _gap)

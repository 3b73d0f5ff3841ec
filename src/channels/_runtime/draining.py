"""How a process ends without all clients reconnecting at once: connections end one after another.

Told to end, it says so (readiness turns false), goes on as before for a while so that load
balancers can take notice, then closes its WebSockets with 1012, spread over time and in random
order, and refuses new ones. When all have ended, or at the deadline, the server's own shutdown
goes on.
"""

import asyncio
import logging
import math
import random
from dataclasses import dataclass
from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured

from .. import signals
from . import clock, termination
from .connections import Connections, Drainable, connections

__all__ = ["Plan", "drain", "is_draining", "prepare", "release"]

logger = logging.getLogger("channels.draining")

# Seconds. Docker kills 10 s after SIGTERM, and servers need a moment for their own shutdown.
_NOTICE, _DEADLINE = 0.0, 8.0
# Connections closed a second, without a SPREAD.
_PACE = 100.0
# Connections are closed in groups, at most so often (seconds).
_STEP = 0.02
# Seconds after which those that are still open are asked to end again.
_AGAIN = 0.5
# Connections that the log names, of those that did not end in time.
_SHOWN = 5


@dataclass(frozen=True)
class Plan:
    """The setting ``CHANNELS_DRAIN``, in seconds."""

    notice: float = _NOTICE
    spread: float | None = None
    deadline: float = _DEADLINE

    @classmethod
    def from_settings(cls) -> "Plan | None":
        """As configured, or None if processes are to end without draining.

        Raises:
            ImproperlyConfigured: the setting is none.
        """
        setting = getattr(settings, "CHANNELS_DRAIN", {})
        if setting is None:
            return None
        if not isinstance(setting, dict) or set(setting) - {"NOTICE", "SPREAD", "DEADLINE"}:
            raise ImproperlyConfigured(
                "CHANNELS_DRAIN must be None, or a dict with the keys NOTICE, SPREAD and "
                f"DEADLINE; it is {setting!r}."
            )
        for name, value in setting.items():
            if not (name == "SPREAD" and value is None) and not _is_duration(value):
                raise ImproperlyConfigured(
                    f"CHANNELS_DRAIN[{name!r}] must be a number of seconds, not {value!r}."
                )
        plan = cls(
            notice=setting.get("NOTICE", _NOTICE),
            spread=setting.get("SPREAD"),
            deadline=setting.get("DEADLINE", _DEADLINE),
        )
        if plan.notice + (plan.spread or 0.0) > plan.deadline:
            raise ImproperlyConfigured(
                f"CHANNELS_DRAIN: NOTICE and SPREAD together must not exceed the DEADLINE, which "
                f"is {plan.deadline:g} s."
            )
        return plan

    def duration(self, count: int) -> float:
        """Seconds over which ``count`` connections are closed."""
        if self.spread is not None:
            return self.spread
        # As much is left for what clients and handlers have to do yet.
        return min(count / _PACE, (self.deadline - self.notice) / 2)


def _is_duration(value: Any) -> bool:
    return (
        isinstance(value, int | float)
        and not isinstance(value, bool)
        and math.isfinite(value)
        and value >= 0
    )


async def drain(here: Connections, plan: Plan) -> bool:
    """Bring all connections of the running event loop to their end.

    Returns:
        Whether all have ended before the deadline.
    """
    here.draining = True
    deadline = clock.now() + plan.deadline
    signals.emit(signals.server_draining, drain, connections=len(here.open), plan=plan)
    if plan.notice:
        logger.info("Told to end: not ready any more; closing connections in %g s", plan.notice)
        await asyncio.sleep(plan.notice)
    start = clock.now()
    here.refusing = True
    waiting = list(here.open)
    random.shuffle(waiting)
    duration = plan.duration(len(waiting))
    if waiting:
        logger.info("Closing connections: %d within %.1f s", len(waiting), duration)
    closing: set[asyncio.Task[Any]] = set()

    def close(connection: Drainable) -> None:
        task = connection.drain() if connection in here.open else None
        if task is not None:
            closing.add(task)
            task.add_done_callback(closing.discard)

    steps = max(1, min(len(waiting), round(duration / _STEP)))
    for step in range(steps):
        for connection in waiting[step::steps]:
            close(connection)
        pause = start + (step + 1) * duration / steps - clock.now()
        if step + 1 < steps and pause > 0:
            await asyncio.sleep(pause)
    while True:
        left = max(deadline - clock.now(), 0.0)
        if left <= _AGAIN:
            # Servers wait for clients that do not read, or forget the consumers that do.
            here.pending_sends.disconnect_websockets()
        ended = await here.ended(min(left, _AGAIN))
        if ended or left <= _AGAIN:
            break
        for connection in list(here.open):  # those, too, that have turned to streams meanwhile
            close(connection)
    for task in closing:
        task.cancel()
    if not ended:
        logger.warning(
            "Still connected %g s after the process was told to end: %d, which the server ends "
            "now; %s",
            plan.deadline,
            len(here.open),
            ", ".join(sorted(str(connection) for connection in here.open)[:_SHOWN]),
        )
    elif waiting:
        logger.info("All connections have ended, in %.1f s", clock.now() - start)
    return ended


def is_draining() -> bool:
    """Whether this process has been told to end. From any thread."""
    return any(here.draining and not loop.is_closed() for loop, here in connections.all())


def prepare(here: Connections) -> None:
    """Arrange that the running event loop's connections are drained when the process ends.

    Cheap after the first call. Where draining is impossible, the server ends them in its own way.
    """
    if here.termination is None:
        here.termination = termination.Termination()
        try:
            plan = Plan.from_settings()
        except ImproperlyConfigured as error:
            logger.error("Connections will not be drained: %s", error)
            return
        if plan is not None:
            here.termination.arm(lambda: drain(here, plan), lambda: _end_streams(here))


def _end_streams(here: Connections) -> None:
    """End the streams of events at once, for a server that waits for responses to end."""
    for connection in list(here.open):
        if connection.is_event_stream and (task := connection.drain()) is not None:
            here.ending.add(task)
            task.add_done_callback(here.ending.discard)


def release() -> None:
    """Leave the process's signals as they were found. On the event loop that ends."""
    here = connections.get()
    if here.termination is None:
        here.termination = termination.Termination()  # so that prepare() does nothing any more
    here.termination.disarm()

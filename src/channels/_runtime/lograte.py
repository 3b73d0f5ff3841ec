"""Lines in the log that others can cause at will: a bounded number of each kind, then a count.

Whatever a client can make this process say (a refused origin, an unknown path, rubbish in a
frame) it can make it say ten thousand times a second. Use :func:`log` for every such line, in
place of ``logger.warning()``::

    lograte.log(logger, logging.WARNING, f"refused {status}", "Refused %s: %s", path, reason)

The first :data:`AT_ONCE` lines of a kind are written as they come. What follows within
:data:`INTERVAL` seconds is counted only, and then told in one line: the last of them, with their
number. While a flood goes on, that is one line for each interval. Signals are no part of this: send
them for every event.

A *kind* is text that the code has chosen: a class, a status, a reason from a fixed set. Never put
into it what a client, a message or a connection brings along, or each of them has a rate of its
own.
"""

import asyncio
import logging
import threading
import traceback
from collections.abc import Callable
from functools import partial
from weakref import ReferenceType, ref

from . import clock, timers
from .forks import in_child

__all__ = ["AT_ONCE", "INTERVAL", "SUMMED_UP", "Pace", "log", "pace", "reset"]

# Lines of a kind that are written before the rest are counted.
AT_ONCE = 10
# Seconds between two lines of a kind after that.
INTERVAL = 10.0
#: What a line ends with that stands for several.
SUMMED_UP = " (one of %d such lines; the others were left out)"
# Kinds that are told apart. There are some dozens; a mistake must not fill the memory.
_KINDS = 1000


class _Kind:
    """What is remembered about one kind."""

    __slots__ = ("count", "later", "loop", "since", "told")

    def __init__(self, since: float) -> None:
        self.since = since  # when the present interval began
        self.told = 0  # how often it has been told of since
        self.count = 0  # how many have not been told of
        self.later: Callable[[int], None] | None = None  # tells of them
        self.loop: ReferenceType[asyncio.AbstractEventLoop] | None = None  # which is to do so


class Pace:
    """Tells of events of some kinds, of each kind only so often. From any thread.

    Args:
        at_once: events of a kind that are told of as they come, before the rest are summed up.
        interval: seconds over which they are.
    """

    def __init__(self, at_once: int, interval: float) -> None:
        self.at_once = at_once
        self.interval = interval
        #: What is remembered, by kind: of a bounded number of kinds.
        self.kinds: dict[str, _Kind] = {}
        self._lock = threading.Lock()

    def admit(self, kind: str, later: Callable[[int], None], count: int = 1) -> int:
        """How many events to tell of now; 0 if it is not yet time to.

        Args:
            kind: which kind the event is of; see the module.
            later: if it is not yet time, called when it is, with the number of events. Of an
                interval's events only the last one's is kept and called. It must hold text only,
                no connection. Where no event loop runs, nothing calls it: then the next event of
                the kind is told of with the number of all.
            count: of how many events this is the news.
        """
        with self._lock:
            state = self._state(kind)
            now = clock.now()
            if not 0 <= now - state.since < self.interval:
                # While a flood goes on, an interval's first is no news.
                state.since, state.told = now, self.at_once - 1 if state.count else 0
            count += state.count
            if state.told >= self.at_once:
                state.count, state.later = count, later
                self._remind(state, state.since + self.interval - now)
                return 0
            state.told += 1
            state.count, state.later = 0, None
            return count

    def forget(self) -> None:
        """Begin anew, as if nothing had been told yet."""
        self._lock = threading.Lock()  # in a forked child: a thread of the parent may have held it
        self.kinds = {}

    def _state(self, kind: str) -> _Kind:
        state = self.kinds.get(kind)
        if state is None:
            if len(self.kinds) >= _KINDS:
                kind = ""  # for all the rest
            state = self.kinds.setdefault(kind, _Kind(clock.now()))
        return state

    def _remind(self, state: _Kind, seconds: float) -> None:
        """Start a timer for the rest of a burst, since no other event may follow."""
        reminded = state.loop() if state.loop is not None else None
        if reminded is not None and not reminded.is_closed():
            return
        try:
            loop = asyncio.get_running_loop()
        except RuntimeError:
            return
        state.loop = ref(loop)
        timers.Timer(seconds, self._tell_rest, state)

    def _tell_rest(self, state: _Kind) -> None:
        with self._lock:
            state.loop = None
            count, later = state.count, state.later
            state.count, state.later = 0, None
            if count:
                state.since, state.told = clock.now(), self.at_once
        if later is not None:
            later(count)


#: Of the lines that :func:`log` writes.
pace = Pace(AT_ONCE, INTERVAL)
reset = pace.forget
in_child(reset)


def log(
    logger: logging.Logger,
    level: int,
    kind: str,
    message: str,
    *arguments: object,
    limited: bool = True,
    exc_info: BaseException | None = None,
) -> None:
    """Write a line to the log, or count it, if too many of its kind have been written lately.

    Args:
        logger: to write to; the same kind of two loggers are two kinds.
        level: of the line.
        kind: what to count together; no text that a client chooses. See the module.
        message: the line, with a place for each of ``arguments``.
        arguments: text and numbers. They are kept for some seconds: no consumer, no scope.
        limited: False writes the line in any case. Pass ``from_server(scope)``: what a test's
            communicator causes, no client causes at will, and the test may look for it.
        exc_info: an exception whose traceback belongs to the line.
    """
    if not logger.isEnabledFor(level):
        return
    count = 1
    if limited:
        later = partial(_write, logger, level, message, arguments)
        count = pace.admit(f"{logger.name} {level} {kind}", later)
    if count:
        _write(logger, level, message, arguments, count, exc_info)


def _write(
    logger: logging.Logger,
    level: int,
    message: str,
    arguments: tuple[object, ...],
    count: int,
    exc_info: BaseException | None = None,
) -> None:
    if count > 1:
        message += SUMMED_UP
        arguments = (*arguments, count)
    try:
        # stacklevel: formatters that show where a line comes from show the caller.
        logger.log(level, message, *arguments, exc_info=exc_info, stacklevel=3)
    except Exception:  # noqa: BLE001 - of a project's filter: no connection's end may depend on it
        if logging.raiseExceptions:  # as logging itself does when a handler fails
            traceback.print_exc()

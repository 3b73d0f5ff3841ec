"""What is under way over one connection: calls are written together, and answered in order."""

import asyncio
from collections import deque
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from typing import Any

from redis import exceptions as redis_errors

from ...._runtime import clock, timers
from ....exceptions import Unconfirmed
from ..scripts import SCRIPTS
from .errors import explain, is_moving, is_transient
from .raw import RawConnection
from .servers import Connection, Server, note_move

__all__ = ["Call", "Pipeline"]

# Calls that are written together. Scripts rely on there being fewer than 512 under way.
_BATCH = 500

# Seconds between attempts while a cluster moves slots.
_MOVING_PAUSE = 0.05

# Seconds for an event loop that was held up to take what has come meanwhile.
_LAST_LOOK = 0.05


@dataclass(slots=True, eq=False)
class Call:
    """A command, and the future that gets its answer.

    Attributes:
        command: its words.
        future: done when the caller has given up, too.
        deadline: until when it is tried, on the monotonic clock.
        repeat: it may be sent again although the server may have carried it out.
        number_at: where among the words its number belongs, or 0 if it takes none.
        number: under which the server may have carried it out, or 0.
    """

    command: tuple[Any, ...]
    future: "asyncio.Future[Any]"
    deadline: float
    repeat: bool = True
    number_at: int = 0
    number: int = 0

    def numbered(self, numbers: Iterator[int], above: int) -> tuple[Any, ...]:
        """The command with its number, which is a new one if its own is not ``above`` another."""
        if self.number <= above:
            self.number = next(numbers)
        return (*self.command[: self.number_at], self.number, *self.command[self.number_at :])

    def fail(self, error: Exception) -> None:
        """Tell the caller."""
        if not self.future.done():
            self.future.set_exception(error)


class Pipeline:
    """Sends the calls that wait over a connection, for as long as that holds.

    All that wait are sent together when all that were sent before have been answered. It takes no
    task, and one timer for all.

    A call keeps its number when it is sent again, by which the server knows a repeat: a number that
    is not above all that it has carried out. So a call gets a new one when the server may have
    carried out a later call, or is to carry out before it one with a higher number.

    Args:
        server: at the other end.
        connection: open, with no answer outstanding. It belongs to the pipeline from now on.
        waiting: the calls, in the order in which they are to be sent.
        numbers: for the calls that take one.
        expire: called with the reason when waiting calls have been delayed.

    Attributes:
        over: a future that gets the error which ended the pipeline, or None if it was finished.
        worked: whether the server has answered something.
    """

    def __init__(
        self,
        server: Server,
        connection: Connection,
        waiting: deque[Call],
        numbers: Iterator[int],
        expire: Callable[[Exception], None],
    ) -> None:
        self._server = server
        self._waiting = waiting
        self._numbers = numbers
        self._expire = expire
        self._loop = asyncio.get_running_loop()
        # What the server may have got, in the order in which it answers.
        self._written: deque[Call] = deque()
        # The number of the last call that was answered and not refused.
        self._answered = 0
        # What it refused of that and is to be repeated, and why.
        self._refused: list[Call] = []
        self._refusals: list[Exception] = []
        # Why it does not load scripts, if it does not.
        self._not_loaded: Exception | None = None
        self._connection = RawConnection(connection, self._receive)
        self._flushing = False
        self._finishing = self._leaving = False
        self._sent = 0.0
        self._watching: timers.Timer | None = None
        self.over = self._connection.over
        self.worked = False

    @property
    def under_way(self) -> int:
        """How many calls are."""
        return len(self._written) + len(self._refused)

    # Writing

    def flush_soon(self) -> None:
        """Send what waits when this turn of the event loop is over, or after the answers."""
        if not self._flushing and not self._written:
            self._flushing = True
            self._loop.call_soon(self.flush)

    def flush(self) -> None:
        """Send what waits, unless answers are outstanding."""
        self._flushing = False
        waiting, written = self._waiting, self._written
        if written or self.over.done():
            return
        if self._leaving:
            self._connection.end()
            return
        commands: list[tuple[Any, ...]] = []
        above = self._answered
        while waiting and len(commands) < _BATCH:
            call = waiting.popleft()
            if call.future.done():  # its caller has given up
                continue
            written.append(call)
            if call.number_at:
                commands.append(call.numbered(self._numbers, above))
                above = call.number
            else:
                commands.append(call.command)
        if commands:
            self._sent = clock.now()
            if self._watching is None:
                self._watch()
            self._connection.send(commands)
        elif self._finishing:
            self._connection.end()

    def finish(self) -> None:
        """End when nothing waits any more."""
        self._finishing = True
        self.flush_soon()

    def leave(self) -> None:
        """End when what has been sent is answered; what waits is for another pipeline."""
        self._leaving = True
        self.flush_soon()

    def _watch(self, *, last_look: bool = False) -> None:
        """End a connection over which an answer is late."""
        self._watching = None
        if not self._written:
            return
        patience = self._server.response_timeout
        left = max(self._sent, self._connection.heard) + patience - clock.now()
        if left <= 0 and last_look:
            self._connection.end(TimeoutError(f"no answer for {patience:g} seconds"))
        else:
            self._watching = timers.Timer(
                max(left, _LAST_LOOK), lambda: self._watch(last_look=left <= 0)
            )

    # Answers

    def _receive(self, replies: Iterable[Any]) -> None:
        """Give each call its answer."""
        written = self._written
        for reply in replies:
            if isinstance(reply, redis_errors.ConnectionError) and is_transient(reply):
                raise reply  # such as that it is loading
            if not written:
                raise ConnectionError(f"the server said {reply!r} unasked")
            call = written.popleft()
            if isinstance(reply, Exception):
                self._settle_refused(call, reply)
                continue
            self._answered = call.number or self._answered
            if not call.future.done():
                call.future.set_result(reply)
        if written:
            return
        if self._refused:
            self._repeat_refused()
        self.worked = True
        # Even if nothing waits: what the callers call next, now that they have answers, goes along.
        self.flush_soon()

    def _settle_refused(self, call: Call, error: Exception) -> None:
        """Repeat a call if that may help; else tell its caller."""
        if isinstance(error, redis_errors.NoScriptError):
            error = self._not_loaded or error
        if is_transient(error) or isinstance(error, redis_errors.NoScriptError):
            self._refused.append(call)
            self._refusals.append(error)
        else:
            self._answered = call.number or self._answered
            call.fail(explain(error))

    def _repeat_refused(self) -> None:
        """Send refused calls again; raise if that needs another connection."""
        others = [e for e in self._refusals if not isinstance(e, redis_errors.NoScriptError)]
        for error in others:
            error = note_move(self._server, error)
            if not is_moving(error):
                raise error
        self._take_back()
        if others:
            self._flushing = True
            timers.Timer(_MOVING_PAUSE, self._go_on, others[0])
        else:
            self._load_scripts()

    def _go_on(self, error: Exception) -> None:
        """Try again what was refused while the keys were moving."""
        self._expire(error)
        self.flush()

    def _load_scripts(self) -> None:
        """Load the scripts, which the server has forgotten or never knew, before all else."""

        def loaded(future: "asyncio.Future[Any]") -> None:
            error = None if future.cancelled() else future.exception()
            if isinstance(error, Exception):
                self._not_loaded = error

        deadline = clock.now() + self._server.response_timeout
        for script in SCRIPTS.values():
            future: asyncio.Future[Any] = self._loop.create_future()
            future.add_done_callback(loaded)
            self._waiting.appendleft(Call(("SCRIPT", "LOAD", script.source), future, deadline))

    # The end

    def _take_back(self) -> None:
        """Let what was written or refused wait again, before what has never been sent."""
        # The written ones keep their numbers, so they come first.
        carried_out = max((call.number for call in self._written), default=0) or self._answered
        for call in self._refused:
            if call.number <= carried_out:
                call.number = 0
        again = [call for call in (*self._written, *self._refused) if not call.future.done()]
        self._waiting.extendleft(reversed(again))
        self._written.clear()
        self._refused.clear()
        self._refusals.clear()

    async def aclose(self) -> None:
        """Disconnect. What is under way waits again, unless it may not be repeated, and fails."""
        why: BaseException | None = None
        if self.over.done() and not self.over.cancelled():
            why = self.over.exception()
        for call in self._written:
            if not call.repeat:
                reason = f": {why}" if why else ""
                failure = Unconfirmed(f"The connection ended before the broker answered{reason}")
                failure.__cause__ = why
                call.fail(failure)
        self._take_back()
        if self._watching is not None:
            self._watching.cancel()
        await self._connection.aclose()

    def abandon(self) -> None:
        """Disconnect without an event loop, which has been closed."""
        self._connection.abandon()

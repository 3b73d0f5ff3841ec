"""Commands to one server: pipelined, in order, over one connection that repairs itself.

What is called in one turn of the event loop travels together, and what is called while that is
under way travels next. So a burst of callers costs one round trip and one connection, and the
server sees one process's commands in the order in which they were called.

When the connection breaks, calls that have not been answered are sent again over the next one.
The server may have carried them out already, so a command must be one that may be repeated: it sets
something to a value, or it is a script that remembers the sender's last number. A call that may not
be repeated (``repeat=False``) fails with :class:`~channels.exceptions.Unconfirmed` instead.
"""

import asyncio
import itertools
import math
from collections import deque
from typing import Any

from ...._runtime import backstage, clock, timers
from ....exceptions import BrokerUnavailable
from ...broker.reconnecting import Reconnector
from ..scripts import SCRIPTS
from .errors import explain, is_transient
from .pipeline import Call, Pipeline
from .servers import Server

__all__ = ["PATIENCE", "SENDER_LEASE", "CommandConnection"]

# Seconds for which a call is repeated before its caller gets an error. Longer than a broker takes
# to restart or to fail over.
PATIENCE = 30.0

# Commands that may wait. Beyond it the broker is called unavailable at once.
MAX_WAITING = 10_000

# Milliseconds for which a server remembers a sender's last number after its last message. Longer
# than any call is repeated.
SENDER_LEASE = 120_000

# Seconds for which waiting calls may still be sent when the connection is closed.
_CLOSING_PATIENCE = 2.0

# Seconds that an event loop may take to end after its tasks were cancelled.
_LAST_SECONDS = 1.0


class CommandConnection:
    """One connection to one server. Belongs to the event loop on which it was made.

    As long as the connection holds, a :class:`~.pipeline.Pipeline` sends the calls. A task makes
    the connection, and makes it again when it breaks.

    Args:
        server: where it leads.
        sender: the key under which the server keeps the number of the last script that appended.
        patience: seconds for which a call is repeated before it fails as ``BrokerUnavailable``.
    """

    def __init__(self, server: Server, sender: str, *, patience: float = PATIENCE) -> None:
        self._server = server
        self._sender = sender
        self._patience = patience
        self._loop = asyncio.get_running_loop()
        self._waiting: deque[Call] = deque()
        self._numbers = itertools.count(1)
        self._pipeline: Pipeline | None = None
        self._reconnector = Reconnector(server.name, "sending", is_transient, explain)
        self._more: asyncio.Future[None] | None = None
        self._closing = False
        # While the connection is to be let go: done when that has happened.
        self._resting: asyncio.Future[None] | None = None
        self._cancelled = -math.inf
        self._task: asyncio.Task[None] | None = None

    # Calls

    def append(self, script: str, keys: list[str], *arguments: Any) -> "asyncio.Future[Any]":
        """Run a script that appends something, exactly once; the future gets its answer.

        The script is given, as its last key, that of this sender; and, before its other arguments,
        the lease of that key and a number. The number is greater than that of any such script
        which the server may have run before. It stays the same when the script is repeated because
        its answer was lost, and the server ignores a number that it has seen.
        """
        count = len(keys) + 1
        command = (
            "EVALSHA", SCRIPTS[script].sha, count, *keys, self._sender, SENDER_LEASE, *arguments
        )  # fmt: skip
        return self._enqueue(command, True, 3 + count)

    def run(
        self, script: str, keys: list[str], arguments: list[Any], *, repeat: bool = True
    ) -> "asyncio.Future[Any]":
        """Run a script; the future gets its answer."""
        command = ("EVALSHA", SCRIPTS[script].sha, len(keys), *keys, *arguments)
        return self._enqueue(command, repeat)

    def call(self, *command: Any, repeat: bool = True) -> "asyncio.Future[Any]":
        """Send a command; the future gets its answer."""
        return self._enqueue(command, repeat)

    def _enqueue(
        self, command: tuple[Any, ...], repeat: bool, number_at: int = 0
    ) -> "asyncio.Future[Any]":
        future: asyncio.Future[Any] = self._loop.create_future()
        now = clock.now()
        # Tasks are cancelled when the event loop is about to be closed, as a rule. Should it go on,
        # so do calls.
        closed = self._closing or now - self._cancelled < _LAST_SECONDS
        pipeline = self._pipeline
        under_way = 0 if pipeline is None else pipeline.under_way
        if closed or len(self._waiting) + under_way >= MAX_WAITING:
            why = "closed" if closed else f"behind by {MAX_WAITING} commands"
            name = self._server.name
            future.set_exception(BrokerUnavailable(f"The connection to {name} is {why}"))
            return future
        self._waiting.append(Call(command, future, now + self._patience, repeat, number_at))
        if pipeline is not None:
            pipeline.flush_soon()
        elif self._task is None or self._task.done():
            self._task = backstage.start(self._work())
        else:
            self._wake()
        return future

    def _wake(self) -> None:
        more, self._more = self._more, None
        if more is not None and not more.done():
            more.set_result(None)

    # Work

    async def _work(self) -> None:
        """Send what waits, until the connection is closed or its event loop ends."""
        try:
            await self._reconnector.run(self._send_waiting)
        except asyncio.CancelledError:
            self._cancelled = clock.now()
            raise
        finally:
            self._has_rested()

    async def _send_waiting(self) -> bool:
        """Send what waits over a connection; False if nothing does and none is to be kept."""
        if not self._waiting:
            if self._closing or self._resting is not None:
                return False
            self._more = self._loop.create_future()
            await self._more
            return True
        try:
            await self._converse()
        except Exception as error:
            self._give_up(error)
            if self._waiting:
                raise
            return True  # every failure has been told to a caller
        if self._waiting:
            self._has_rested()
        return True

    async def _converse(self) -> None:
        """Connect, and send what waits for as long as the connection holds.

        One that breaks while nothing is under way is no error, since nothing is lost.
        """
        async with timers.timeout(self._server.response_timeout * 2):
            connection = await self._server.connect()
        pipeline = Pipeline(self._server, connection, self._waiting, self._numbers, self._expire)
        self._pipeline = pipeline
        pipeline.flush()
        if self._closing:
            pipeline.finish()
        elif self._resting is not None:
            pipeline.leave()
        try:
            await pipeline.over
        except Exception:
            if pipeline.under_way:
                raise
        finally:
            self._pipeline = None
            if pipeline.worked:
                self._reconnector.works()
            await pipeline.aclose()

    def _give_up(self, error: Exception) -> None:
        """Fail the calls that have waited too long, or all if trying again cannot help."""
        if is_transient(error):
            self._expire(error)
            return
        while self._waiting:
            self._waiting.popleft().fail(explain(error))

    def _expire(self, error: Exception | None = None) -> None:
        now = clock.now()
        while self._waiting and (self._closing or self._waiting[0].deadline <= now):
            reason = f": {error}" if error else ""
            failure = BrokerUnavailable(
                f"The broker ({self._server.name}) did not answer for {self._patience:g} "
                f"seconds{reason}"
            )
            failure.__cause__ = error
            self._waiting.popleft().fail(failure)

    # The end

    async def rest(self) -> None:
        """Let the connection go, once what has been sent is answered. The next call makes another.

        Returns after some seconds at the latest. What is under way then goes on, and comes to the
        same end as ever.
        """
        if self._task is None or self._task.done():
            return
        if self._resting is None:
            self._resting = self._loop.create_future()
        if self._pipeline is not None:
            self._pipeline.leave()
        self._wake()
        await asyncio.wait((self._resting,), timeout=_CLOSING_PATIENCE)

    def _has_rested(self) -> None:
        """The connection has been let go, for now."""
        resting, self._resting = self._resting, None
        if resting is not None and not resting.done():
            resting.set_result(None)

    async def aclose(self) -> None:
        """Finish what waits, if the server answers, and disconnect."""
        self._closing = True
        task = self._task
        if task is not None and not task.done():
            if self._pipeline is not None:
                self._pipeline.finish()
            self._wake()
            _, late = await asyncio.wait((task,), timeout=_CLOSING_PATIENCE)
            for unfinished in late:
                unfinished.cancel()
                await asyncio.wait((unfinished,), timeout=1)
        self._expire()

    def abandon(self) -> None:
        """Disconnect without an event loop, which has been closed."""
        self._closing = True
        pipeline, self._pipeline = self._pipeline, None
        if pipeline is not None:
            pipeline.abandon()

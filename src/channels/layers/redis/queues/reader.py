"""Reading a queue, each message of which goes to exactly one reader.

A queue is a stream with one consumer group. A reader is handed only as many messages as callers
wait for, and takes each one (see ``entries.py``) before a caller gets it.

What was handed out when a connection broke is asked for again over the next one. What was handed
out to callers who have given up waiting is kept for the next ones, and after a while given back to
the queue. What a reader was handed and does nothing with, because its process is dead or hangs,
is handed to another after some seconds.
"""

import asyncio
import contextlib
import itertools
import logging
import math
from collections import deque
from collections.abc import Callable
from typing import Any

from redis import exceptions as redis_errors

from ...._runtime import backstage, timers
from ...._runtime.clock import now
from ....exceptions import BrokerUnavailable
from ...broker.reconnecting import Reconnector
from ..connection.commands import CommandConnection
from ..connection.errors import explain, is_transient
from ..connection.opening import ask
from ..connection.servers import Connection, Server, note_move
from ..keys import READERS
from ..scripts import SCRIPTS
from .entries import Entries, Entry

__all__ = ["QueueReader"]

logger = logging.getLogger("channels.layers")

_BLOCK, _GRACE = 5.0, 5.0  # seconds; see inbox.py
_IDLE = 30.0  # seconds without a caller after which the connection is given up
_HOLD = 1.0  # seconds without a caller after which messages are given back
_PAUSE = 0.02  # seconds until the end of a read is asked for again
_CLOSING_PATIENCE = 1.0  # seconds for a read, and for what is to be given back, to end
_GONE = 60.0  # seconds of silence after which a reader that was handed nothing is forgotten
_ABANDONED = 10.0  # seconds after which what a reader was handed, and has not removed, is another's

_numbers = itertools.count(1)


class QueueReader:
    """The callers of one event loop that wait for messages of one named channel.

    Args:
        server: where the queue is.
        commands: takes and gives back, on the running event loop.
        queue: the queue's key.
        process: the name of this process.
        channel: the channel's name.
        expiry: seconds after which a message is not delivered any more, unless a sender's is
            longer.
        count_expired: is told how many messages were found to have expired.
    """

    def __init__(
        self,
        server: Server,
        commands: CommandConnection,
        queue: str,
        process: str,
        channel: str,
        expiry: float,
        count_expired: Callable[[int], None],
    ) -> None:
        self._server = server
        self._reconnector = Reconnector(
            server.name, f"receiving from channel {channel}", is_transient, explain
        )
        self._commands = commands
        self._queue = queue
        # Each event loop's reader asks again for its own messages only.
        self._name = f"{process}.{next(_numbers)}"
        self._expiry = expiry
        self._count_expired = count_expired
        self._callers: deque[asyncio.Future[Entry]] = deque()
        #: What the server has handed out here.
        self.entries = Entries(commands, queue, self._name, expiry, count_expired)
        # When a read last found nothing. What comes later was sent later, whatever the server's
        # clock, which may have been set, says.
        self._empty = -math.inf
        # The connection's number at the server if it tells.
        self._client = 0
        #: Whether the server is asked for messages at this moment.
        self.is_reading = False
        self._closing = False
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        #: How many calls of :meth:`receive` are under way.
        self.callers = 0

    async def receive(self) -> bytes:
        """The next message; giving up the wait loses nothing."""
        self.callers += 1
        try:
            while True:
                entry = self.entries.pop() if self.entries else await self._next()
                if await self._take(entry):
                    return entry.data
        finally:
            self.callers -= 1

    async def _take(self, entry: Entry) -> bool:
        """Take an entry for a caller, or keep it for the next one if this one gives up."""
        try:
            return await self.entries.take(entry)
        except asyncio.CancelledError:
            self._keep(entry)
            raise

    async def _next(self) -> Entry:
        """Wait in line for an entry."""
        caller: asyncio.Future[Entry] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = backstage.start(self._reconnector.run(self._try_to_read))
        try:
            return await caller
        except asyncio.CancelledError:
            if not caller.cancelled() and caller.done() and caller.exception() is None:
                self._keep(caller.result())  # it came as the caller was cancelled
            else:
                with contextlib.suppress(ValueError):
                    self._callers.remove(caller)
                self._stop_reading()
            raise

    def _keep(self, entry: Entry) -> None:
        """Keep an entry for the next caller, since the one that was to have it has gone."""
        self.entries.keep(entry)
        self._serve()
        self._wanted.set()
        self._stop_reading()

    def _stop_reading(self) -> None:
        """Let the server hand out nothing more, if nobody waits for it."""

        def stopped(unblocked: "asyncio.Future[int]") -> None:
            failed = unblocked.cancelled() or unblocked.exception()
            if not failed and not unblocked.result():  # the read had not begun, or is over
                timers.Timer(_PAUSE, self._stop_reading)

        if self.is_reading and self._client and not self._callers:
            self._commands.call("CLIENT", "UNBLOCK", self._client).add_done_callback(stopped)

    # Reading

    async def _try_to_read(self) -> bool:
        """Read over a connection as long as callers come; whether another one is needed."""
        if not await self._want():
            return False
        connection: Connection | None = None
        try:
            async with timers.timeout(self._server.response_timeout * 2):
                connection = await self._server.connect()
                with contextlib.suppress(redis_errors.ResponseError):
                    self._client = await ask(connection, "CLIENT", "ID")
                await self._open_queue(connection, sweep=True)
            await self._read(connection)
            return False
        except Exception as error:
            error = note_move(self._server, error)
            if not _is_gone(error):
                if not is_transient(error):
                    self._fail(explain(error, "to hand out messages"))
                raise error
            self._reconnector.works()
            logger.warning(
                "%s was gone from the server, and with it what waited there", self._queue
            )
            return True  # it is made anew
        finally:
            self._client, self.is_reading = 0, False
            if connection is not None:
                with contextlib.suppress(Exception):
                    await connection.disconnect(nowait=True)

    async def _want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        while not self._callers:
            if self._closing:
                return False
            self._wanted.clear()
            try:
                async with timers.timeout(_HOLD if self.entries else _IDLE):
                    await self._wanted.wait()
            except TimeoutError:
                if not self.entries:
                    return bool(self._callers)  # one may have come in this very turn
                self.entries.give_back(leave=False)
        return True

    async def _open_queue(self, connection: Connection, *, sweep: bool) -> None:
        """Make sure of the consumer group, which goes with the queue when that expires.

        Also take over what other readers were handed and have not removed for some seconds.
        """
        expired, abandoned = await ask(
            connection, "EVAL", SCRIPTS["open_queue"].source, 2, *self.entries.keys, READERS,
            int(max(self._expiry * 2, _BLOCK * 4) * 1000), self.entries.limit,
            int(_GONE * 1000) if sweep else 0,
            self._name, int(_ABANDONED * 1000), len(self._callers),
        )  # fmt: skip
        if expired:
            self._count_expired(expired)
        self._hold(abandoned)

    async def _read(self, connection: Connection) -> None:
        """Read as long as callers come."""
        await self._read_again(connection)
        self._reconnector.works()
        seen = now()
        while await self._want():
            if now() - seen > _BLOCK:
                seen = now()
                async with timers.timeout(self._server.response_timeout):
                    await self._open_queue(connection, sweep=False)
                continue
            self.is_reading = True
            async with timers.timeout(_BLOCK + _GRACE):
                answer = await ask(
                    connection, "XREADGROUP", "GROUP", READERS, self._name,
                    "COUNT", len(self._callers) or 1, "BLOCK", int(_BLOCK * 1000),
                    "STREAMS", self._queue, ">",
                )  # fmt: skip
            self.is_reading = False
            if answer:
                self._hold(answer[0][1], self._empty)
            else:
                self._empty = now()

    async def _read_again(self, connection: Connection) -> None:
        """Ask for what was handed out over a connection that broke."""
        async with timers.timeout(self._server.response_timeout):
            answer = await ask(
                connection, "XREADGROUP", "GROUP", READERS, self._name, "STREAMS", self._queue, "0"
            )
        self._hold(answer[0][1] if answer else [])

    def _hold(self, entries: list[Any], since: float = -math.inf) -> None:
        """Take over entries that were handed out, and give them to those who wait."""
        self.entries.hold(entries, since)
        self._serve()

    def _serve(self) -> None:
        """Give what is held to those who wait."""
        while self.entries and self._callers:
            caller = self._callers.popleft()
            if not caller.done():
                caller.set_result(self.entries.pop())

    def _fail(self, error: Exception) -> None:
        """Tell those who wait why nothing will come."""
        callers, self._callers = self._callers, deque()
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)

    # The end

    def is_wanted(self) -> bool:
        """Whether anybody waits for a message."""
        return bool(self._callers)

    async def aclose(self) -> None:
        """Stop, and give back what was handed out but not received.

        What is still under way then ends when the connection for commands is closed.
        """
        self._closing = True
        self._fail(BrokerUnavailable("The layer has been closed"))
        self._wanted.set()
        self._stop_reading()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait((task,), timeout=_CLOSING_PATIENCE)
            task.cancel()
            await asyncio.wait((task,), timeout=1)
            returning = self.entries.give_back(leave=True)
            if returning:
                await asyncio.wait(returning, timeout=_CLOSING_PATIENCE)

    async def leave(self) -> None:
        """The same where that connection stays open: wait until all has been given back."""
        await self.aclose()
        await self.entries.returned(_CLOSING_PATIENCE)


def _is_gone(error: Exception) -> bool:
    """Whether a server says that the queue from which it is to read is not there any more."""
    return isinstance(error, redis_errors.ResponseError) and any(
        word in str(error) for word in ("NOGROUP", "UNBLOCKED")
    )

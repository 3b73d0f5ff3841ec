"""Named channels: queues that any process may read, each message going to exactly one reader.

A queue is a stream with one consumer group. A reader is handed only as many messages as callers
wait for, and removes one from the queue before a caller gets it: it has what it has removed, and
nobody else can have that. So no message is handled twice, whoever else was handed it.

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
from typing import Any, TypeVar

from redis import exceptions as redis_errors

from ..._runtime import backstage, timers
from ..._runtime.clock import now
from ...exceptions import BrokerUnavailable
from ..broker.reconnecting import Reconnector
from .connection.commands import CommandConnection
from .connection.errors import explain, forget, is_transient
from .connection.servers import Connection, Server, heed_move
from .keys import FIELD_SENT, READERS, queue_expiry_key
from .scripts import SCRIPTS

__all__ = ["QueueReader"]

logger = logging.getLogger("channels.layers")

_T = TypeVar("_T")

_BLOCK, _GRACE = 5.0, 5.0  # seconds; see inbox.py
_IDLE = 30.0  # seconds without a caller after which the connection is given up
_HOLD = 1.0  # seconds without a caller after which messages are given back
_PAUSE = 0.02  # seconds until the end of a read is asked for again
_CLOSING_PATIENCE = 1.0  # seconds for a read, and for what is to be given back, to end
_GONE = 60.0  # seconds of silence after which a reader that was handed nothing is forgotten
_ABANDONED = 10.0  # seconds after which what a reader was handed, and has not removed, is another's

# More messages than any queue holds: what goes back into it is let in, even if it is full.
_ANY = 2**40

_numbers = itertools.count(1)


# Entries remembered as taken, for when a server hands one out again.
_REMEMBERED = 1000


class _Entry:
    """A message that the server has handed out here.

    Args:
        entry_id: its name in the queue.
        fields: what the server keeps of it.
        since: no earlier than this, on the clock :func:`now`, was it sent, as far as is known.
    """

    __slots__ = ("data", "id", "sent", "since", "ticket")

    def __init__(self, entry_id: bytes, fields: list[bytes], since: float) -> None:
        self.id = entry_id
        self.data = fields[1]
        #: When it was sent, by the server's clock, in milliseconds.
        moved = len(fields) == 4 and fields[2] == FIELD_SENT and fields[3].isdigit()
        self.sent = fields[3] if moved else entry_id.partition(b"-")[0]
        self.since = since
        #: Says whether it is ours, once that has been asked: 1, 0 or -1, as the script ``take``.
        self.ticket: asyncio.Future[int] | None = None


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
        # It, and what says how long its messages live; see the script enqueue.
        self._keys = [queue, queue_expiry_key(queue)]
        # Each event loop's reader asks again for its own messages only.
        self._name = f"{process}.{next(_numbers)}"
        self._expiry = expiry
        self._count_expired = count_expired
        self._callers: deque[asyncio.Future[_Entry]] = deque()
        self._held: deque[_Entry] = deque()
        # Entries that callers are about to have, by their names.
        self._tickets: dict[bytes, _Entry] = {}
        # What callers had of late, oldest first. The server may not know of it, or not any more:
        # one that is killed may forget what it has answered just before.
        self._taken: dict[bytes, None] = {}
        # When a read last found nothing. What comes later was sent later, whatever the server's
        # clock, which may have been set, says.
        self._empty = -math.inf
        # The connection's number at the server if it tells, and whether it waits for messages.
        self._client = 0
        self._reading = False
        self._closing = False
        self._wanted = asyncio.Event()
        self._returning: set[asyncio.Future[Any]] = set()
        self._task: asyncio.Task[None] | None = None
        #: How many calls of :meth:`receive` are under way.
        self.callers = 0

    async def receive(self) -> bytes:
        """The next message; giving up the wait loses nothing."""
        self.callers += 1
        try:
            while True:
                entry = self._held.popleft() if self._held else await self._next()
                if await self._take(entry):
                    return entry.data
        finally:
            self.callers -= 1

    async def _next(self) -> _Entry:
        """Wait in line for an entry."""
        caller: asyncio.Future[_Entry] = asyncio.get_running_loop().create_future()
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

    def _keep(self, entry: _Entry) -> None:
        """Keep an entry for the next caller, since the one that was to have it has gone."""
        self._held.appendleft(entry)
        if len(self._held) > 1:
            self._put_in_order()
        self._serve()
        self._wanted.set()
        self._stop_reading()

    def _put_in_order(self) -> None:
        """Let what is held be in the order of the queue, however callers gave up.

        The script ``give_back`` goes back to before the first.
        """
        self._held = deque(sorted(self._held, key=lambda entry: _order(entry.id)))

    def _stop_reading(self) -> None:
        """Have the server hand out nothing more, if nobody waits for it."""

        def stopped(unblocked: "asyncio.Future[int]") -> None:
            failed = unblocked.cancelled() or unblocked.exception()
            if not failed and not unblocked.result():  # the read had not begun, or is over
                timers.Timer(_PAUSE, self._stop_reading)

        if self._reading and self._client and not self._callers:
            self._commands.call("CLIENT", "UNBLOCK", self._client).add_done_callback(stopped)

    # Taking

    async def _take(self, entry: _Entry) -> bool:
        """Have an entry, which nobody else can have from then on; False if it is not to be had."""
        if entry.ticket is None:
            entry.ticket = ticket = self._ask_for(entry)
            self._tickets[entry.id] = entry
            ticket.add_done_callback(lambda _: self._settle(entry.id, ticket))
        try:
            return await asyncio.shield(entry.ticket) > 0
        except asyncio.CancelledError:
            if not entry.ticket.cancelled():
                self._keep(entry)
            raise

    def _ask_for(self, entry: _Entry) -> "asyncio.Future[int]":
        fresh = now() - entry.since < self._expiry  # whatever the server's clock says
        limit = 0 if fresh else self._limit
        return self._commands.append("take", self._keys, READERS, entry.id, entry.sent, limit)

    @property
    def _limit(self) -> int:
        """What the scripts are told of the expiry, in milliseconds."""
        return max(int(self._expiry * 1000), 1)

    def _settle(self, entry_id: bytes, ticket: "asyncio.Future[int]") -> None:
        """Take note of whether an entry is ours."""
        self._tickets.pop(entry_id, None)
        if ticket.cancelled() or ticket.exception():
            return  # it stays with the server, which hands it out again
        if ticket.result() < 0:
            self._count_expired(1)
        if ticket.result():
            self._taken[entry_id] = None
            if len(self._taken) > _REMEMBERED:
                del self._taken[next(iter(self._taken))]

    def _remove(self, entry_id: bytes) -> None:
        """Have the server forget an entry that is of no use to anybody."""
        self._commands.call("XDEL", self._queue, entry_id).add_done_callback(forget)
        self._commands.call("XACK", self._queue, READERS, entry_id).add_done_callback(forget)

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
                    self._client = await self._ask(connection, "CLIENT", "ID")
                await self._open_queue(connection, sweep=True)
            await self._read(connection)
        except Exception as error:
            error = heed_move(self._server, error)
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
            self._client, self._reading = 0, False
            if connection is not None:
                with contextlib.suppress(Exception):
                    await connection.disconnect(nowait=True)
        return False

    async def _want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        while not self._callers:
            if self._closing:
                return False
            self._wanted.clear()
            try:
                async with timers.timeout(_HOLD if self._held else _IDLE):
                    await self._wanted.wait()
            except TimeoutError:
                if not self._callers and not self._held:
                    return False
                if not self._callers:
                    self._give_back(leave=False)
        return True

    @staticmethod
    async def _ask(connection: Connection, *command: Any) -> Any:
        await connection.send_command(*command, check_health=False)
        return await connection.read_response()

    async def _open_queue(self, connection: Connection, *, sweep: bool) -> None:
        """Have the consumer group, which goes with the queue when that expires.

        By the way, take over what has been handed to others who do nothing with it.
        """
        expired, abandoned = await self._ask(
            connection, "EVAL", SCRIPTS["open_queue"].source, 2, *self._keys, READERS,
            int(max(self._expiry * 2, _BLOCK * 4) * 1000), self._limit,
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
            self._reading = True
            async with timers.timeout(_BLOCK + _GRACE):
                answer = await self._ask(
                    connection, "XREADGROUP", "GROUP", READERS, self._name,
                    "COUNT", len(self._callers) or 1, "BLOCK", int(_BLOCK * 1000),
                    "STREAMS", self._queue, ">",
                )  # fmt: skip
            self._reading = False
            if answer:
                self._hold(answer[0][1], self._empty)
            else:
                self._empty = now()

    async def _read_again(self, connection: Connection) -> None:
        """Have what was handed out over a connection that broke."""
        async with timers.timeout(self._server.response_timeout):
            answer = await self._ask(
                connection, "XREADGROUP", "GROUP", READERS, self._name, "STREAMS", self._queue, "0"
            )
        self._hold(answer[0][1] if answer else [])

    def _hold(self, entries: list[Any], since: float = -math.inf) -> None:
        """Take over entries that were handed out, and give them to those who wait."""
        before = len(self._held)
        known = self._tickets.keys() | {entry.id for entry in self._held}
        for entry_id, fields in entries:
            if not fields or entry_id in self._taken:  # it was trimmed, or a caller has it
                self._remove(entry_id)
            elif entry_id not in known:
                self._held.append(_Entry(entry_id, fields, since))
        if before:
            self._put_in_order()
        self._serve()

    def _serve(self) -> None:
        """Give what is held to those who wait."""
        while self._held and self._callers:
            caller = self._callers.popleft()
            if not caller.done():
                caller.set_result(self._held.popleft())

    def _fail(self, error: Exception) -> None:
        """Tell those who wait why nothing will come."""
        callers, self._callers = self._callers, deque()
        for caller in callers:
            if not caller.done():
                caller.set_exception(error)

    # The end

    def _give_back(self, *, leave: bool) -> "list[asyncio.Future[None]]":
        """Let others have what was handed out here and is wanted by nobody.

        Returns:
            What is to be waited for before the connection is closed, which waits for the rest.
        """
        held, self._held = self._held, deque()
        handed_out = [entry.id for entry in held if entry.ticket is None]
        arguments = [READERS, self._name, int(leave), *([] if leave else handed_out)]
        self._return(self._commands.run("give_back", [self._queue], arguments))
        taken = [entry for entry in held if entry.ticket is not None]
        return [self._return(asyncio.ensure_future(self._put_back(entry))) for entry in taken]

    def _return(self, future: "asyncio.Future[_T]") -> "asyncio.Future[_T]":
        """Keep what goes back until it has."""
        self._returning.add(future)
        future.add_done_callback(self._returned)
        return future

    async def _put_back(self, entry: _Entry) -> None:
        """Put a message into the queue again that no caller was there to have."""
        if entry.ticket is not None and await entry.ticket > 0:
            arguments = entry.data, _ANY, self._limit, entry.sent
            await self._commands.append("enqueue", self._keys, *arguments)

    def _returned(self, future: "asyncio.Future[Any]") -> None:
        self._returning.discard(future)
        forget(future)

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
            returning = self._give_back(leave=True)
            if returning:
                await asyncio.wait(returning, timeout=_CLOSING_PATIENCE)

    async def leave(self) -> None:
        """The same where that connection stays open: wait until all has been given back."""
        await self.aclose()
        if self._returning:
            await asyncio.wait(self._returning, timeout=_CLOSING_PATIENCE)


def _order(entry_id: bytes) -> tuple[int, int]:
    """IDs of entries compare as pairs of numbers."""
    milliseconds, _, number = entry_id.partition(b"-")
    return int(milliseconds), int(number)


def _is_gone(error: Exception) -> bool:
    """Whether a server says that the queue from which it is to read is not there any more."""
    return isinstance(error, redis_errors.ResponseError) and any(
        word in str(error) for word in ("NOGROUP", "UNBLOCKED")
    )

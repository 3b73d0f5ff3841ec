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
from collections.abc import Callable
from typing import Any

from redis import exceptions as redis_errors

from ...._runtime import timers
from ...._runtime.clock import now
from ...broker.named_reader import NamedReader
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
_PAUSE = 0.02  # seconds until the end of a read is asked for again
_CLOSING_PATIENCE = 1.0  # seconds for what is to be given back at the end
_GONE = 60.0  # seconds of silence after which a reader that was handed nothing is forgotten
_ABANDONED = 10.0  # seconds after which what a reader was handed, and has not removed, is another's

_numbers = itertools.count(1)


class QueueReader(NamedReader[Entry]):
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
        # Each event loop's reader asks again for its own messages only.
        self._name = f"{process}.{next(_numbers)}"
        #: What the server has handed out here.
        self.entries = Entries(commands, queue, self._name, expiry, count_expired)
        super().__init__(server.name, channel, is_transient, explain, self.entries)
        self._server = server
        self._commands = commands
        self._queue = queue
        self._expiry = expiry
        self._count_expired = count_expired
        # When a read last found nothing. What comes later was sent later, whatever the server's
        # clock, which may have been set, says.
        self._empty = -math.inf
        # The connection's number at the server if it tells.
        self._client = 0
        #: Whether the server is asked for messages at this moment.
        self.is_reading = False

    # See broker.named_reader.NamedReader

    async def receive(self) -> bytes:
        """The next message; giving up the wait loses nothing."""
        return (await self.next()).data

    async def take(self, entry: Entry) -> bool:
        """Take an entry for a caller, or keep it for the next one if this one gives up."""
        try:
            return await self.entries.take(entry)
        except asyncio.CancelledError:
            self.keep(entry)
            raise

    def keep(self, entry: Entry) -> None:
        """Keep an entry for the next caller, since the one that was to have it has gone."""
        super().keep(entry)
        self._stop_reading()

    def hold_again(self, entry: Entry) -> None:
        """Hold an entry in its place."""
        self.entries.keep(entry)

    async def give_back(self) -> None:
        """Let the server hand out again what is held here. Nobody waits for that."""
        self.entries.give_back(leave=False)

    async def give_back_all(self) -> None:
        """Let the server forget this reader, too."""
        returning = self.entries.give_back(leave=True)
        if returning:
            await asyncio.wait(returning, timeout=_CLOSING_PATIENCE)

    def caller_left(self) -> None:
        """Let the server hand out nothing more if nobody waits."""
        self._stop_reading()

    interrupt = caller_left

    def examined(self, error: Exception) -> Exception:
        """What went wrong, after a look whether the queue is at another node now."""
        return note_move(self._server, error)

    def _stop_reading(self) -> None:
        """Let the server hand out nothing more, if nobody waits for it."""

        def stopped(unblocked: "asyncio.Future[int]") -> None:
            failed = unblocked.cancelled() or unblocked.exception()
            if not failed and not unblocked.result():  # the read had not begun, or is over
                timers.Timer(_PAUSE, self._stop_reading)

        if self.is_reading and self._client and not self._callers:
            self._commands.call("CLIENT", "UNBLOCK", self._client).add_done_callback(stopped)

    # Reading

    async def read(self) -> bool:
        """Read over a connection as long as callers come; whether the queue is to be made anew."""
        connection: Connection | None = None
        try:
            async with timers.timeout(self._server.response_timeout * 2):
                connection = await self._server.connect()
                with contextlib.suppress(redis_errors.ResponseError):
                    self._client = await ask(connection, "CLIENT", "ID")
                await self._open_queue(connection, sweep=True)
            await self._read(connection)
            return False
        except redis_errors.ResponseError as error:
            if not _is_gone(error):
                raise
            self._reconnector.works()
            logger.warning(
                "%s was gone from the server, and with it what waited there", self._queue
            )
            return True
        finally:
            self._client, self.is_reading = 0, False
            if connection is not None:
                with contextlib.suppress(Exception):
                    await connection.disconnect(nowait=True)

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
        while await self.want():
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
        self.serve()

    # The end

    async def leave(self) -> None:
        """Stop where the connection for commands stays open: wait until all is given back."""
        await self.aclose()
        await self.entries.returned(_CLOSING_PATIENCE)


def _is_gone(error: redis_errors.ResponseError) -> bool:
    """Whether a server says that the queue from which it is to read is not there any more."""
    return any(word in str(error) for word in ("NOGROUP", "UNBLOCKED"))

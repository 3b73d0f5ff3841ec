"""Reading the inbox of this process from one server, and keeping its lease."""

import asyncio
import contextlib
import copy
import logging
import math
from collections.abc import Iterable, Iterator
from typing import Any, Protocol

from ...._runtime import backstage, lograte, timers
from ...._runtime.backstage import ignore_failure
from ...._runtime.clock import now
from ....exceptions import BrokerUnavailable
from ...broker.backpressure import Backpressure
from ...broker.reconnecting import Reconnector
from ...local import Late
from ..connection.commands import CommandConnection
from ..connection.errors import explain, is_transient
from ..connection.opening import ask
from ..connection.raw import RawConnection
from ..connection.servers import Connection, Server, note_move
from ..scripts import SCRIPTS
from . import lease
from .lease import Lease
from .progress import Progress

__all__ = ["InboxReader", "Recipient"]

logger = logging.getLogger("channels.layers")

# Seconds that a read waits for something to come, and that its answer may be late. Together they
# bound how long a connection that died without a word goes unnoticed.
_BLOCK, _GRACE = 5.0, 5.0

# Seconds for an event loop that was held up to take what has come meanwhile.
_LAST_LOOK = 0.05

# Entries in one read, and entries read before the server may drop them. They are dropped at the
# latest when the lease is renewed.
_BATCH = 1000
_TRIM_EVERY = 256


class Recipient(lease.Recipient, Protocol):
    """Gets what an inbox holds."""

    def inbox_received(self, field: bytes, data: bytes, age: float, patience: float) -> Late | None:
        """An entry came; it was appended ``age`` seconds ago by the server's clock.

        What is returned is left to be done later. See :meth:`~..mailbox.Mailbox.put` on patience.
        """

    def inbox_lost(self, partition: int, reason: str) -> None:
        """Messages may have been lost."""


class InboxReader:
    """Keeps one inbox alive, and hands on what comes in.

    Args:
        server: where the inbox is.
        commands: leads there, and is the running event loop's.
        partition: the number of the server.
        base: of all keys there.
        process: the name of this process.
        seconds: how long the inbox outlives the last sign of life.
        recipient: gets what it holds.
        capacity: messages that the inbox holds.
    """

    def __init__(
        self,
        server: Server,
        commands: CommandConnection,
        partition: int,
        base: str,
        process: str,
        seconds: float,
        recipient: Recipient,
        capacity: int = 10_000,
    ) -> None:
        self._server = server
        self._commands = commands
        self._partition = partition
        #: What the server keeps for this process.
        self.lease = Lease(partition, base, process, seconds, recipient)
        self.inbox = self.lease.inbox
        self._seconds = seconds
        self._recipient = recipient
        self._progress = Progress()
        self._untrimmed = 0
        # What has been read takes room until it is dropped.
        self._trim_every = max(1, min(_TRIM_EVERY, capacity // 4))
        # Why messages may have been lost, until the recipient has been told.
        self._gap: str | None = None
        # When the last read was begun.
        self._asked = -math.inf
        # What was read and is still to be handed over, and whether it was all that the inbox held.
        self._entries: Iterator[Any] | None = None
        self._all = False
        self._backpressure = Backpressure()
        self._connection: RawConnection | None = None
        self._tasks: tuple[asyncio.Task[None], ...] = ()
        self._abandoned = False
        self._reconnector = Reconnector(server.name, "receiving", is_transient, explain)
        # When the connection was lost that is being made again.
        self._broken_since = now()
        self._loop = asyncio.get_running_loop()
        self._ready: asyncio.Future[None] = self._loop.create_future()

    # See broker.receiver.Reader

    def start(self) -> None:
        """Start reading."""
        self._tasks = (
            backstage.start(self._reconnector.run(self._try_to_read)),
            backstage.start(self._renew_lease()),
        )

    def is_ready(self) -> bool:
        """Whether the inbox is read, and has been found or made."""
        return self._ready.done()

    async def be_ready(self) -> None:
        """Wait until it is.

        Raises:
            BrokerError: the server refuses, or the reader was stopped.
        """
        await asyncio.shield(self._ready)

    def resume_from(self, former: "InboxReader") -> None:
        """Go on where a reader on another event loop has stopped."""
        self._progress = copy.copy(former._progress)
        self.lease.resume_from(former.lease)

    async def wind_down(self) -> bool:
        """Nothing has to be waited for: what is not read stays in the inbox."""
        return True

    def abandon(self) -> None:
        """Hand over nothing more. For event loops that do not run, and perhaps never will."""
        self._abandoned, self._entries = True, None
        self._backpressure.stop()
        tasks, self._tasks = self._tasks, ()
        with contextlib.suppress(RuntimeError):  # it has been closed
            for task in tasks:
                task.cancel()

    async def stop(self) -> None:
        """Stop reading; nothing is left behind but the inbox."""
        self._backpressure.stop()
        tasks, self._tasks = self._tasks, ()
        for task in tasks:
            task.cancel()
        if tasks:
            await asyncio.wait(tasks, timeout=1)
        if not self._ready.done():
            self._fail_waiting(BrokerUnavailable("The layer has been closed"))

    # Reading

    async def _try_to_read(self) -> bool:
        """Read over a connection, until it breaks."""
        try:
            await self._read()
        except Exception as error:
            if self._reconnector.failures == 0:
                self._broken_since = now()
            error = note_move(self._server, error)
            if not is_transient(error):
                self._fail_waiting(error)
            raise error
        finally:
            connection, self._connection = self._connection, None
            self._entries = None  # the server has them yet
            if connection is not None:
                await connection.aclose()
        return True  # pragma: no cover - a connection ends with an error

    def _fail_waiting(self, error: Exception) -> None:
        """Tell the callers of :meth:`be_ready` why the inbox is not read.

        Later callers wait for the next attempt.
        """
        ready, self._ready = self._ready, self._loop.create_future()
        if not ready.done():
            ready.set_exception(explain(error, "to let this process receive"))
            ready.exception()  # there may be no caller

    async def _read(self) -> None:
        """Connect, and read for as long as the connection holds and there is an inbox."""
        async with timers.timeout(self._server.response_timeout * 2):
            opened = await self._server.connect()
        try:
            await self._register(opened)
        except BaseException:
            with contextlib.suppress(Exception):
                await opened.disconnect(nowait=True)
            raise
        self._reconnector.works()
        self._backpressure.note_delay(now() - self._broken_since)
        if not self._ready.done():
            self._ready.set_result(None)
        self._connection = connection = RawConnection(opened, self._receive)
        self._ask_for_more(connection)
        while not connection.over.done():
            patience = _BLOCK + _GRACE - self._silence(connection)
            await asyncio.wait((connection.over,), timeout=max(patience, _LAST_LOOK))
            if patience <= 0 and self._silence(connection) >= _BLOCK + _GRACE:
                raise TimeoutError(f"nothing came for {connection.silence:.0f} seconds")
        connection.over.result()

    def _silence(self, connection: RawConnection) -> float:
        """Seconds for which the server has owed an answer, at most."""
        return 0.0 if self._entries is not None else min(connection.silence, now() - self._asked)

    async def _ask(self, connection: Connection, *command: Any) -> Any:
        async with timers.timeout(self._server.response_timeout):
            return await ask(connection, *command)

    async def _register(self, connection: Connection) -> None:
        """Make the inbox if it is not there, renew the memberships, and then tell of a gap."""
        progress, lease, asked = self._progress, self.lease, now()
        script, last = SCRIPTS["register"].source, self._progress.last or ""
        time, made, newest, known, server, former = await self._ask(
            connection, "EVAL", script, 1, self.inbox, lease.milliseconds, last
        )
        progress.set_clock(time)
        gap = progress.registered(bool(made), newest.decode(), bool(known), server, former, asked)
        self._gap = gap or self._gap
        script = SCRIPTS["renew"].source
        for keys, arguments in lease.renewals():
            renewed = await self._ask(connection, "EVAL", script, len(keys), *keys, *arguments)
            progress.set_clock(renewed[0])
            lease.heed(renewed, anew=bool(made), told=self._gap is not None)
        # A user without the right to read is told now, before the inbox is taken to be read.
        await self._ask(connection, "XREAD", "COUNT", 1, "STREAMS", self.inbox, progress.last)
        # Only now, so that consumers that are told miss nothing that comes after.
        gap, self._gap = self._gap, None
        if gap is not None:
            logger.warning("Messages to %s may have been lost: %s", self.inbox, gap)
            self._recipient.inbox_lost(self._partition, gap)

    async def _renew_lease(self) -> None:
        """Give a sign of life in every third of the lease."""
        while True:
            await timers.sleep(self._seconds / 3)
            self._trim()
            for keys, arguments in self.lease.renewals():
                try:
                    answer = await self._commands.run("renew", keys, arguments)
                except Exception:  # noqa: BLE001 - the connection that reads fails too, and tells
                    break
                self._progress.set_clock(answer[0])
                if not self.lease.heed(answer):
                    self.reset()
                    break

    def _ask_for_more(self, connection: RawConnection) -> None:
        """Ask for what comes next, unless the connection has ended meanwhile."""
        self._asked = now()
        block, last = int(_BLOCK * 1000), self._progress.last
        command = ("XREAD", "COUNT", _BATCH, "BLOCK", block, "STREAMS", self.inbox, last)
        connection.send((command,))

    def _receive(self, replies: Iterable[Any]) -> None:
        connection = self._connection
        if self._abandoned or connection is None:  # and another event loop reads
            return
        for reply in replies:
            if isinstance(reply, Exception):
                raise reply
            if reply is None:  # nothing came for long
                self._backpressure.note_delay(now() - self._asked - _BLOCK)
                self._progress.emptied = self._asked
                # Is it there? And a server that has become a replica refuses this.
                connection.send((("PEXPIRE", self.inbox, self.lease.milliseconds),))
                continue
            if reply == 0:
                raise ConnectionError("the inbox is gone")  # nothing can come any more
            if isinstance(reply, list):
                self._take(reply[0][1])
            else:
                self._loop.call_soon(self._ask_for_more, connection)

    def _take(self, entries: list[Any]) -> None:
        """Hand over what a read has brought, and then read on."""
        backpressure, waited = self._backpressure, now() - self._asked
        if waited > 1:
            # It came when it was there, unless the server or this event loop stood still.
            age = now() + self._progress.offset - int(entries[0][0].partition(b"-")[0]) / 1000
            backpressure.note_delay(max(min(age, waited), waited - _BLOCK))
        self._all = len(entries) < _BATCH
        self._entries = iter(entries)
        if backpressure.pausing:  # with what came over the connection before this one
            return
        self._hand_over()
        if backpressure.catching_up and self._all and not backpressure.pausing:
            backpressure.rest()

    def _hand_over(self) -> None:
        """Hand over what has been read, until that has to wait."""
        entries, backpressure, raw_id = self._entries, self._backpressure, None
        connection = self._connection
        if entries is None or connection is None:  # it has ended
            return
        received, progress, moment = self._recipient.inbox_received, self._progress, now()
        # The server's clock may have been set: nothing is older than the last read that left
        # nothing in the inbox.
        clock, oldest = moment + progress.offset, moment - progress.emptied
        for raw_id, fields in entries:
            self._untrimmed += 1
            if len(fields) == 4:
                sender, _, digits = fields[3].rpartition(b":")
                before = progress.latest.get(sender)
                if before is not None and digits.isdigit() and (number := int(digits)) > before:
                    progress.latest[sender] = number
                elif progress.is_repeat(fields[3]):
                    continue
            age = clock - int(raw_id.partition(b"-")[0]) / 1000
            if age > oldest:
                age = oldest
            try:
                late = received(fields[0], fields[1], max(age, 0.0), backpressure.seconds)
            except Exception as error:  # noqa: BLE001 - what follows is handed over
                lograte.log(
                    logger, logging.ERROR, "inbox", "An entry of %s could not be handed over",
                    self.inbox, exc_info=error,
                )  # fmt: skip
                continue
            if late is not None and backpressure.wait(late, self._hand_over):
                break
        if raw_id is not None:
            progress.last = raw_id.decode()
        if self._untrimmed >= self._trim_every:
            self._trim()
        if backpressure.pausing:
            return
        self._entries = None
        if self._all:
            progress.emptied = self._asked
        # After this turn of the event loop, one read brings more entries at once.
        self._loop.call_soon(self._ask_for_more, connection)

    def _trim(self) -> None:
        """Let the server drop the entries before the last one, which have been read."""
        if self._untrimmed:
            self._untrimmed = 0
            trimming = self._commands.call("XTRIM", self.inbox, "MINID", self._progress.last)
            trimming.add_done_callback(ignore_failure)

    def reset(self) -> None:
        """Connect and register anew."""
        if self._connection is not None:
            self._connection.end(ConnectionError("the inbox is to be registered anew"))

    def hurry(self) -> None:
        """Hand over at once what has been read, whether there is room for it or not."""
        self._backpressure.hurry()

"""Named channels: queues that any process may read, each message going to exactly one reader.

A queue is a stream with one consumer group. A reader takes only as many messages as callers wait
for, and acknowledges one when a caller has it. What the server had handed out when a connection
broke is asked for again over the next one, by the same reader only, so nothing is lost and
nothing is delivered twice. What was handed out to callers who have given up waiting is kept for
the next ones, and after a while given back to the queue.
"""

import asyncio
import contextlib
import itertools
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis import exceptions as redis_errors

from .errors import backoff, explain, forget, heed_move, is_transient
from .link import BrokerUnavailable, Link
from .scripts import SCRIPTS
from .servers import Connection, Server

__all__ = ["QueueReader"]

logger = logging.getLogger("channels.layers")

_GROUP = "readers"
_BLOCK, _GRACE = 5.0, 5.0  # seconds; see inbox.py
_IDLE = 30.0  # seconds without a caller after which the connection is given up
_HOLD = 1.0  # seconds without a caller after which messages are given back
_PAUSE = 0.02  # seconds until the end of a read is asked for again
_CLOSING_PATIENCE = 1.0  # seconds for a read to end
_GONE = 60.0  # seconds of silence after which a reader is taken to be dead

_numbers = itertools.count(1)


# Entries remembered as taken, for when a server hands one out again.
_REMEMBERED = 1000


class QueueReader:
    """The callers of one event loop that wait for messages of one named channel.

    Args:
        server: where the queue is.
        link: for acknowledgements.
        queue: the queue's key.
        process: the name of this process.
        expiry: seconds after which a message is not delivered any more, unless a sender's is
            longer.
        open_message: makes a message of what the queue holds, or None after counting the loss.
        count_expired: is told how many messages were found to have expired.
    """

    def __init__(
        self,
        server: Server,
        link: Link,
        queue: str,
        process: str,
        expiry: float,
        open_message: Callable[[bytes], dict[str, Any] | None],
        count_expired: Callable[[int], None],
    ) -> None:
        self._server = server
        self._link = link
        self._queue = queue
        # Each event loop's reader asks again for its own messages only.
        self._name = f"{process}.{next(_numbers)}"
        self._expiry = expiry
        # What counts: the longest expiry of those who send, unless it is shorter.
        self._longest = expiry
        self._open = open_message
        self._count_expired = count_expired
        self._callers: deque[asyncio.Future[tuple[bytes, bytes]]] = deque()
        self._held: deque[tuple[bytes, bytes]] = deque()
        # What callers had of late, oldest first. The server may not know of it, or not any more:
        # one that is killed may forget what it has answered just before.
        self._taken: dict[bytes, None] = {}
        # The connection's number at the server if it tells, and whether it waits for messages.
        self._client = 0
        self._reading = False
        self._closing = False
        # What to add to time.monotonic() to have the server's clock, in seconds.
        self._offset = 0.0
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def receive(self) -> dict[str, Any]:
        """The next message; giving up the wait loses nothing."""
        while True:
            entry_id, data = self._held.popleft() if self._held else await self._next()
            message = self._take(entry_id, data)
            if message is not None:
                return message

    async def _next(self) -> tuple[bytes, bytes]:
        """Wait in line for an entry."""
        caller: asyncio.Future[tuple[bytes, bytes]] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            return await caller
        except asyncio.CancelledError:
            if not caller.cancelled() and caller.done() and caller.exception() is None:
                self._held.appendleft(caller.result())  # it came as the caller was cancelled
                self._serve()
            else:
                with contextlib.suppress(ValueError):
                    self._callers.remove(caller)
            self._stop_reading()
            raise

    def _stop_reading(self) -> None:
        """Have the server hand out nothing more, if nobody waits for it."""

        def stopped(unblocked: "asyncio.Future[int]") -> None:
            failed = unblocked.cancelled() or unblocked.exception()
            if not failed and not unblocked.result():  # the read had not begun, or is over
                unblocked.get_loop().call_later(_PAUSE, self._stop_reading)

        if self._reading and self._client and not self._callers:
            self._link.call("CLIENT", "UNBLOCK", self._client).add_done_callback(stopped)

    def _take(self, entry_id: bytes, data: bytes) -> dict[str, Any] | None:
        """The message of an entry, which is acknowledged whatever it is."""
        age = time.monotonic() + self._offset - int(entry_id.partition(b"-")[0]) / 1000
        expired = age > self._longest
        self._acknowledge(entry_id, expired=expired)
        return None if expired else self._open(data)

    def _acknowledge(self, entry_id: bytes, *, expired: bool = False) -> None:
        """Have the server forget an entry."""

        def settled(deleted: "asyncio.Future[Any]") -> None:
            if deleted.cancelled() or deleted.exception():
                return  # should the server hand it out again, this is done again
            if expired and deleted.result():  # or somebody else has found it, and counted it
                self._count_expired(1)

        self._taken[entry_id] = None
        if len(self._taken) > _REMEMBERED:
            del self._taken[next(iter(self._taken))]
        self._link.call("XACK", self._queue, _GROUP, entry_id).add_done_callback(forget)
        self._link.call("XDEL", self._queue, entry_id).add_done_callback(settled)

    # Reading

    async def _run(self) -> None:
        attempt = 0
        while await self._want():
            connection: Connection | None = None
            try:
                async with asyncio.timeout(self._server.response_timeout * 2):
                    connection = await self._server.connect()
                    with contextlib.suppress(redis_errors.ResponseError):
                        self._client = await self._ask(connection, "CLIENT", "ID")
                    await self._open_queue(connection, sweep=True)
                attempt = 0
                await self._read(connection)
                return
            except Exception as error:  # noqa: BLE001 - tried again, or told to who waits
                attempt += 1
                heed_move(self._server, error)
                if isinstance(error, redis_errors.ResponseError) and _is_gone(error):
                    attempt = 0
                    logger.warning(
                        "%s was gone from the server, and with it what waited there", self._queue
                    )
                elif not is_transient(error):
                    self._fail(explain(error))
            finally:
                self._client, self._reading = 0, False
                if connection is not None:
                    with contextlib.suppress(Exception):
                        await connection.disconnect(nowait=True)
            if attempt:
                await asyncio.sleep(backoff(attempt))

    async def _want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        while not self._callers:
            if self._closing:
                return False
            self._wanted.clear()
            try:
                async with asyncio.timeout(_HOLD if self._held else _IDLE):
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
        """Have the consumer group, which goes with the queue when that expires."""
        now, expired, longest = await self._ask(
            connection, "EVAL", SCRIPTS["open_queue"].source, 2, self._queue,
            f"{self._queue}:expiry", _GROUP,
            int(max(self._expiry * 2, _BLOCK * 4) * 1000), max(int(self._expiry * 1000), 1),
            int(max(self._expiry, _GONE) * 1000) if sweep else 0,
        )  # fmt: skip
        self._offset = now / 1000 - time.monotonic()
        self._longest = longest / 1000
        if expired:
            self._count_expired(expired)

    async def _read(self, connection: Connection) -> None:
        """Read as long as callers come."""
        await self._read_again(connection)
        seen = time.monotonic()
        while await self._want():
            if time.monotonic() - seen > _BLOCK:
                seen = time.monotonic()
                async with asyncio.timeout(self._server.response_timeout):
                    await self._open_queue(connection, sweep=False)
                continue
            self._reading = True
            async with asyncio.timeout(_BLOCK + _GRACE):
                answer = await self._ask(
                    connection, "XREADGROUP", "GROUP", _GROUP, self._name,
                    "COUNT", len(self._callers) or 1, "BLOCK", int(_BLOCK * 1000),
                    "STREAMS", self._queue, ">",
                )  # fmt: skip
            self._reading = False
            self._hold(answer[0][1] if answer else [])

    async def _read_again(self, connection: Connection) -> None:
        """Have what was handed out over a connection that broke."""
        async with asyncio.timeout(self._server.response_timeout):
            answer = await self._ask(
                connection, "XREADGROUP", "GROUP", _GROUP, self._name, "STREAMS", self._queue, "0"
            )
        held = {entry_id for entry_id, _ in self._held}
        entries = [entry for entry in answer[0][1] if entry[0] not in held] if answer else []
        for entry_id, _ in entries:
            if entry_id in self._taken:
                self._acknowledge(entry_id)
        self._hold([entry for entry in entries if entry[0] not in self._taken])

    def _hold(self, entries: list[Any]) -> None:
        """Take over entries that were handed out, and give them to those who wait."""
        for entry_id, fields in entries:
            if fields:
                self._held.append((entry_id, fields[1]))
            else:  # it was trimmed, and counted, when it expired
                self._acknowledge(entry_id)
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

    def _give_back(self, *, leave: bool) -> None:
        """Let others have what was handed out here and is wanted by nobody."""
        held = [] if leave else [entry_id for entry_id, _ in self._held]
        self._held.clear()
        arguments = [_GROUP, self._name, int(leave), *held]
        self._link.run("give_back", [self._queue], arguments).add_done_callback(forget)

    async def aclose(self) -> None:
        """Stop, and give back what was handed out but not received. Closing the link ends it."""
        self._closing = True
        self._fail(BrokerUnavailable("The layer has been closed"))
        self._wanted.set()
        self._stop_reading()
        task, self._task = self._task, None
        if task is not None:
            await asyncio.wait((task,), timeout=_CLOSING_PATIENCE)
            task.cancel()
            await asyncio.wait((task,), timeout=1)
            self._give_back(leave=True)


def _is_gone(error: Exception) -> bool:
    """Whether a server says that the queue from which it is to read is not there any more."""
    return any(word in str(error) for word in ("NOGROUP", "UNBLOCKED"))

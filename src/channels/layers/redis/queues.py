"""Named channels: queues that any process may read, each message going to exactly one reader.

A queue is a stream with one consumer group. A reader takes only as many messages as callers wait
for, and acknowledges one when a caller has it. What the server had handed out when a connection
broke is asked for again over the next one, by the same reader only, so nothing is lost and
nothing is delivered twice.
"""

import asyncio
import contextlib
import logging
import time
from collections import deque
from collections.abc import Callable
from typing import Any

from redis import exceptions as redis_errors

from .hosts import Connection, Server
from .link import Link, backoff, is_transient
from .scripts import SCRIPTS

__all__ = ["QueueReader"]

logger = logging.getLogger("channels.layers")

_GROUP = "readers"
_BLOCK, _GRACE = 5.0, 5.0  # seconds; see inbox.py
_IDLE = 30.0  # seconds without a caller after which the connection is given up


class QueueReader:
    """The callers of one event loop that wait for messages of one named channel.

    Args:
        server: where the queue is.
        link: for acknowledgements.
        queue: the queue's key.
        process: the name of this process.
        expiry: seconds after which a message is not delivered any more.
        open_message: makes a message of what the queue holds, or None after counting the loss.
    """

    def __init__(
        self,
        server: Server,
        link: Link,
        queue: str,
        process: str,
        expiry: float,
        open_message: Callable[[bytes, float], dict[str, Any] | None],
    ) -> None:
        self._server = server
        self._link = link
        self._queue = queue
        self._process = process
        self._expiry = expiry
        self._open = open_message
        self._callers: deque[asyncio.Future[dict[str, Any]]] = deque()
        self._held: deque[tuple[bytes, bytes]] = deque()
        self._returned: deque[dict[str, Any]] = deque()
        self._wanted = asyncio.Event()
        self._task: asyncio.Task[None] | None = None

    async def receive(self) -> dict[str, Any]:
        """The next message; giving up the wait loses nothing."""
        if self._returned:
            return self._returned.popleft()
        while self._held:
            message = self._take(*self._held.popleft())
            if message is not None:
                return message
        caller: asyncio.Future[dict[str, Any]] = asyncio.get_running_loop().create_future()
        self._callers.append(caller)
        self._wanted.set()
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._run())
        try:
            return await caller
        except BaseException:
            if caller.done() and not caller.cancelled():  # it came as the caller was cancelled
                self._returned.append(caller.result())
            else:
                with contextlib.suppress(ValueError):
                    self._callers.remove(caller)
            raise

    def _take(self, entry_id: bytes, data: bytes) -> dict[str, Any] | None:
        """The message of an entry, which is acknowledged whatever it is."""
        for command in (("XACK", self._queue, _GROUP, entry_id), ("XDEL", self._queue, entry_id)):
            self._link.call(*command).add_done_callback(_forget)
        return self._open(data, int(entry_id.partition(b"-")[0]) / 1000)

    # Reading

    async def _run(self) -> None:
        attempt = 0
        while True:
            if not self._callers and not await self._want():
                return
            connection: Connection | None = None
            try:
                async with asyncio.timeout(self._server.response_timeout * 2):
                    connection = await self._server.connect()
                    await self._make_group(connection)
                attempt = 0
                await self._read(connection)
                return
            except Exception as error:
                attempt += 1
                if isinstance(error, redis_errors.ResponseError) and "NOGROUP" in str(error):
                    attempt = 0
                elif not is_transient(error):
                    logger.exception("Reading %s failed; trying again", self._queue)
            finally:
                if connection is not None:
                    with contextlib.suppress(Exception):
                        await connection.disconnect(nowait=True)
            if attempt:
                await asyncio.sleep(backoff(attempt))

    async def _want(self) -> bool:
        """Wait for a caller; False if none comes for long."""
        self._wanted.clear()
        try:
            async with asyncio.timeout(_IDLE):
                await self._wanted.wait()
        except TimeoutError:
            return bool(self._callers)
        return True

    async def _make_group(self, connection: Connection) -> None:
        """Have the consumer group, which goes with the queue when that expires."""
        await connection.send_command(
            "EVAL", SCRIPTS["open_queue"].source, 1, self._queue, _GROUP,
            int(max(self._expiry, _BLOCK * 4) * 1000), check_health=False,
        )  # fmt: skip
        await connection.read_response()

    async def _read(self, connection: Connection) -> None:
        """Read as long as callers come."""
        start = b"0"  # first what was handed out over a connection that broke
        seen = time.monotonic()
        while True:
            if not self._callers and not await self._want():
                return
            if time.monotonic() - seen > _BLOCK:
                seen = time.monotonic()
                await self._make_group(connection)
            async with asyncio.timeout(_BLOCK + _GRACE):
                await connection.send_command(
                    "XREADGROUP", "GROUP", _GROUP, self._process,
                    "COUNT", 1000 if start == b"0" else len(self._callers) or 1,
                    "BLOCK", int(_BLOCK * 1000),
                    "STREAMS", self._queue, start,
                    check_health=False,
                )  # fmt: skip
                answer = await connection.read_response()
            entries = answer[0][1] if answer else []
            if start == b"0":
                held = {entry_id for entry_id, _ in self._held}
                entries = [entry for entry in entries if entry[0] not in held]
                start = b">"
            for entry_id, fields in entries:
                if fields:
                    self._held.append((entry_id, fields[1]))
            self._serve()

    def _serve(self) -> None:
        """Give what is held to those who wait."""
        while self._held and self._callers:
            caller = self._callers.popleft()
            while self._held and not caller.done():
                message = self._take(*self._held.popleft())
                if message is not None:
                    caller.set_result(message)
            if not caller.done():
                self._callers.appendleft(caller)

    # The end

    async def aclose(self) -> None:
        """Stop, and give back what was taken but not delivered."""
        task, self._task = self._task, None
        if task is not None and not task.done():
            task.cancel()
            await asyncio.wait((task,), timeout=1)
        while self._held:
            entry_id, data = self._held.popleft()
            keys = [self._queue]
            await self._link.run("give_back", keys, [_GROUP, entry_id, data])


def _forget(future: "asyncio.Future[Any]") -> None:
    """An acknowledgement that failed is made good by the entry's expiry."""
    if not future.cancelled():
        future.exception()

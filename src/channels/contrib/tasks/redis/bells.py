"""Idle workers wait at a server until there may be a task."""

import asyncio
import contextlib
from collections.abc import Sequence

from channels._runtime import timers
from channels.layers.redis.connection.opening import ask
from channels.layers.redis.connection.servers import Connection, Server

__all__ = ["Bell"]

# Seconds that an answer may be late.
_GRACE = 5.0


class Bell:
    """A connection to one server over which nothing is done but waiting, by one worker.

    Args:
        server: where the keys are.
    """

    def __init__(self, server: Server) -> None:
        self._server = server
        self._connection: Connection | None = None

    async def wait(self, keys: Sequence[str], seconds: float) -> None:
        """Return when one of the lists has an element, which is taken, or the time is over.

        A connection that fails ends the wait: what the worker asks next says what is wrong.
        """
        answered = False
        try:
            if self._connection is None:
                async with timers.timeout(self._server.response_timeout * 2):
                    self._connection = await self._server.connect()
            async with timers.timeout(seconds + _GRACE):
                await ask(self._connection, "BLPOP", *keys, f"{seconds:.3f}")
            answered = True
        except Exception:  # noqa: BLE001 - see above
            await asyncio.sleep(0)
        finally:
            if not answered:
                await self.aclose()

    async def aclose(self) -> None:
        """Disconnect."""
        connection, self._connection = self._connection, None
        if connection is not None:
            with contextlib.suppress(Exception):
                await connection.disconnect(nowait=True)

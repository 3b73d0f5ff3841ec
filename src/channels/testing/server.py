"""uvicorn as the live server of tests. Importing this module takes uvicorn, an extra."""

import asyncio
import socket
from collections.abc import Callable

import uvicorn

from channels._runtime.types import ASGIApplication

__all__ = ["GRACE", "Server"]

# Seconds that responses may go on at the end of a test until their connections are cut off: the
# test has seen what it wanted to see.
GRACE = 1

# Seconds that applications have from then on. Longer than consumers and Django's views take to end
# by themselves when the client has gone; others are cancelled.
_PATIENCE = 5

_POLL = 0.005  # seconds between looks at what is still open


class Server(uvicorn.Server):
    """uvicorn for an application in the test's process.

    Args:
        application: what to serve.
        ready: called once connections are accepted.
    """

    def __init__(self, application: ASGIApplication, ready: Callable[[], object]) -> None:
        config = uvicorn.Config(
            application,
            interface="asgi3",
            loop="asyncio",
            ws="auto",
            lifespan="auto",
            log_config=None,  # the project's LOGGING decides
            access_log=False,
            proxy_headers=False,
            server_header=False,
            timeout_graceful_shutdown=GRACE,
        )
        super().__init__(config)
        self._ready = ready

    async def startup(self, sockets: list[socket.socket] | None = None) -> None:
        """Run the application's startup, and accept connections."""
        await super().startup(sockets)
        self._ready()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Accept nothing more, close every connection, and run the application's shutdown."""
        for server in self.servers:
            server.close()
        await self.hang_up()
        await super().shutdown(sockets)

    async def hang_up(self) -> None:
        """Close every connection, WebSockets with 1012, and wait until nothing handles them."""
        told: set[object] = set()
        state = self.server_state
        for seconds, interrupt in ((GRACE, self._abort), (_PATIENCE, self._cancel)):
            deadline = asyncio.get_running_loop().time() + seconds
            while state.connections or state.tasks:
                for connection in state.connections - told:
                    connection.shutdown()
                    told.add(connection)
                if asyncio.get_running_loop().time() > deadline:
                    interrupt()
                    break
                await asyncio.sleep(_POLL)
        if state.tasks:  # handlers in threads, which end when they end
            await asyncio.wait(set(state.tasks))

    def _abort(self) -> None:
        for connection in list(self.server_state.connections):
            connection.transport.abort()

    def _cancel(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()

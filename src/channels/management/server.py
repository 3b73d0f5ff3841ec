"""uvicorn as the server that Django's ``runserver`` command starts, binds and ends."""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from types import FrameType
from typing import ClassVar

import uvicorn

from channels._runtime.termination import Termination
from channels._runtime.types import ASGIApplication

__all__ = ["HANDLER_GRACE", "PROCESS_GRACE", "UvicornServer"]

# A developer who saved a file or pressed Ctrl-C waits for this. Django's autoreloader kills the
# process 0.25 s after Ctrl-C (subprocess.Popen's grace), so most of an orderly end fits into that.
HANDLER_GRACE = 0.1  # seconds until handlers that are still running are cancelled
PROCESS_GRACE = 1.0  # seconds until the process ends, whatever threads are still running


class UvicornServer:
    """What Django's ``runserver`` expects of its ``server_cls``, made of uvicorn.

    The address is bound when the object is made, so Django reports a port in use, or an address
    that is not this machine's, in its own words. There is one running server in a process.

    Args:
        server_address: host name or address, and port (0 for any free one).
        handler_class: Django's class for WSGI requests; not used.
        ipv6: whether the address is an IPv6 address.

    Raises:
        OSError: the address cannot be bound.
    """

    title = f"ASGI/uvicorn {uvicorn.__version__}"  # shown when the server starts
    daemon_threads = True  # Django sets it
    _running: ClassVar["UvicornServer | None"] = None

    def __init__(
        self, server_address: tuple[str, int], handler_class: object, ipv6: bool = False
    ) -> None:
        self.socket = socket.create_server(
            server_address,
            family=socket.AF_INET6 if ipv6 else socket.AF_INET,
            backlog=128,
            # "::" means IPv4 as well, as it does for Django's server.
            dualstack_ipv6=ipv6 and socket.has_dualstack_ipv6(),
        )
        self.server_port: int = self.socket.getsockname()[1]
        self._application: ASGIApplication | None = None
        self._server: _Server | None = None
        self._finished = threading.Event()

    def set_app(self, application: ASGIApplication) -> None:
        """Set the ASGI application to serve."""
        self._application = application

    def serve_forever(self) -> None:
        """Serve until :meth:`end`, or in the main thread until SIGINT or SIGTERM."""
        config = uvicorn.Config(
            self._application,  # type: ignore[arg-type] # Django sets it before this call
            interface="asgi3",
            ws="auto",
            lifespan="auto",
            log_config=None,  # the project's LOGGING decides
            access_log=False,  # RequestLog writes Django's lines
            proxy_headers=False,  # Django's server ignores them too
            server_header=False,
        )
        Termination.disabled = True  # a developer does not wait for draining
        self._server = _Server(config)
        UvicornServer._running = self
        try:
            self._server.run(sockets=[self.socket])
        finally:
            UvicornServer._running = None
            self._finished.set()

    @classmethod
    def end(cls, status: int) -> None:
        """End the server that runs in another thread, because the process is about to end.

        Returns when the server has closed its connections, or after :data:`PROCESS_GRACE`. By
        then the process ends with ``status`` even if a handler blocks a thread.
        """
        server = UvicornServer._running
        if server is None or server._server is None:
            return
        signal.signal(signal.SIGINT, signal.SIG_IGN)  # the end has been asked for already
        _exit_later(status)
        server._server.stop()
        server._finished.wait(PROCESS_GRACE)


class _Server(uvicorn.Server):
    """uvicorn for development: it stops at once, and logs no complaints about that."""

    _loop: asyncio.AbstractEventLoop | None = None

    def stop(self) -> None:
        """Stop serving. From any thread, or from a signal handler."""
        self.should_exit = True
        if self._loop is not None:
            with contextlib.suppress(RuntimeError):  # the loop has been closed meanwhile
                self._loop.call_soon_threadsafe(self._stopping.set)

    def handle_exit(self, sig: int, frame: FrameType | None) -> None:
        """Stop because of a signal; only in the main thread, so without the autoreloader."""
        _exit_later(0 if sig == signal.SIGINT else 128 + sig)
        super().handle_exit(sig, frame)
        self.stop()

    async def main_loop(self) -> None:
        """Serve until told to stop, and notice it at once (uvicorn looks every 0.1 s)."""
        self._stopping = asyncio.Event()
        self._loop = asyncio.get_running_loop()
        tasks = {
            self._loop.create_task(super().main_loop()),
            self._loop.create_task(self._stopping.wait()),
        }
        await asyncio.wait(tasks, return_when=asyncio.FIRST_COMPLETED)
        for task in tasks:
            task.cancel()

    async def shutdown(self, sockets: list[socket.socket] | None = None) -> None:
        """Close connections (WebSockets with 1012), and cancel what still runs after a moment."""
        complaints = logging.getLogger("uvicorn.error")
        level = complaints.level
        # That handlers were interrupted is what the developer asked for, not an error.
        complaints.setLevel(logging.CRITICAL + 1)
        try:
            asyncio.get_running_loop().call_later(HANDLER_GRACE, self._cancel_handlers)
            await super().shutdown(sockets)
        finally:
            complaints.setLevel(level)

    def _cancel_handlers(self) -> None:
        for task in self.server_state.tasks:
            task.cancel()


def _exit_later(status: int) -> None:
    """End the process with ``status`` after :data:`PROCESS_GRACE`, unless it has ended by then.

    The interpreter waits for threads before it ends, and a handler may block one for long.
    """

    def leave() -> None:
        for stream in (sys.stdout, sys.stderr):
            with contextlib.suppress(Exception):
                stream.flush()
        os._exit(status)

    timer = threading.Timer(PROCESS_GRACE, leave)
    timer.daemon = True
    timer.start()

"""Hypercorn.

- It keeps the socket of a client that does not read, even when the application has returned. So
  the connection is broken at its transport, unless it is one of HTTP/2, which requests share.
- Its workers are not told by a signal to end. They poll an event that their parent sets, and the
  end of the task that polls is the beginning of the shutdown, which waits ``graceful_timeout``
  seconds for the connections.
- As soon as one worker has ended, their parent sends SIGTERM to all of them. It would kill those
  that are still draining.
- It runs its event loop anew for the connections when the startup is complete.
- It always reports 1006 as the code that a client has closed with.
- It inflates whatever a client has compressed before it looks at the size: a megabyte becomes a
  gigabyte. And it keeps what comes after a message that is too large, compressed or not. So
  compression is not agreed on, and what comes after such a message is forgotten.

What is used of its objects, which are private: ``scope``, ``app_put`` and ``send`` of its streams;
``handshake.extensions`` and ``buffer`` of its WebSockets;
``send`` of ``H11Protocol``, ``writer`` of ``TCPServer``; the name of the coroutine function
``raise_shutdown``. Checked with Hypercorn 0.17 and 0.18.
"""

import asyncio
import multiprocessing
from collections.abc import Callable
from typing import Any, Self

from .. import timers
from ..scopes import shares_connection
from ..types import Receive, Scope, Send
from .base import Shutdown, TransportServer, require, serves, tell_unexpected

__all__ = ["WEBSOCKETS", "Hypercorn", "WorkerShutdown"]

#: The module of its WebSockets.
WEBSOCKETS = "hypercorn.protocol.ws_stream"

# Seconds within which workers, which look every 0.1 s, know what their parent knows.
_POLLED = 0.5


class Hypercorn(TransportServer):
    """A connection of Hypercorn."""

    package = "hypercorn"
    modules = ("hypercorn.protocol.",)

    __slots__ = ("_websocket",)

    def __init__(self, scope: Scope, send: Send, transport: Any, stream: Any) -> None:
        super().__init__(scope, send, transport)
        # What consumers take for a WebSocket may be a request (channels.fallback).
        self._websocket = stream if stream.scope["type"] == "websocket" else None
        if self._websocket is not None:
            require(stream, "buffer", "handshake")

    @classmethod
    def of(cls, here: Any, scope: Scope, send: Send, receive: Receive | None) -> Self | None:
        """The adapter for one of its streams."""
        source = here.app_put.__self__  # the queue that receive() reads
        if not serves(scope, receive, headers=here.scope["headers"], source=source):
            return None
        if shares_connection(scope):
            return cls(scope, send, None, here)
        http = here.send.__self__
        tcp = http.send.__self__
        return cls(scope, send, tcp.writer.transport, here)

    def begin(self) -> bool:
        """The connection begins: its client cannot fill the memory."""
        stream = self._websocket
        if stream is not None:
            stream.handshake.extensions = None
            stream.buffer = _BoundedBuffer(stream.buffer)
        return False


class _BoundedBuffer:
    """Takes the place of a ``WebsocketBuffer``: what comes after too much is not kept."""

    __slots__ = ("_buffer", "_error", "clear", "to_message")

    def __init__(self, buffer: Any) -> None:
        self._buffer = buffer
        self._error: Exception | None = None
        self.clear = buffer.clear
        self.to_message = buffer.to_message

    def extend(self, event: Any) -> None:
        """Take a part of a message.

        Raises:
            Exception: Hypercorn's own, which closes the socket: it is too large, or one was before.
        """
        if self._error is not None:
            raise self._error.with_traceback(None)
        try:
            self._buffer.extend(event)
        except Exception as error:
            self._error = error.with_traceback(None)
            self.clear()
            raise


class WorkerShutdown(Shutdown):
    """Notices that a worker of Hypercorn begins to shut down.

    Args:
        waiting: the tasks of Hypercorn's that wait for it.
        begins: called when it does.
    """

    by_signal = False

    def __init__(self, waiting: "list[asyncio.Task[Any]]", begins: Callable[[], object]) -> None:
        self._begins = begins
        for task in waiting:
            task.add_done_callback(self._begin)

    @classmethod
    def watch(cls, loop: asyncio.AbstractEventLoop, begins: Callable[[], object]) -> Self | None:
        """Call ``begins`` when the shutdown begins, if ``loop`` is that of a worker.

        Returns:
            The notice of it; None on other event loops.
        """
        tasks = [(task, name) for task in asyncio.all_tasks(loop) if (name := _function(task))]
        waiting = [task for task, name in tasks if name == "raise_shutdown"]
        if waiting:
            return cls(waiting, begins)
        if tasks:
            why = "no task of its waits for the shutdown"
            tell_unexpected(Hypercorn.package, why, "connections may be cut without draining")
        return None

    def _begin(self, task: "asyncio.Task[Any]") -> None:
        self.begun = True
        if not task.get_loop().is_closed():
            self._begins()

    def is_by_parent(self) -> bool:
        """Whether SIGTERM says nothing new: it is how the parent process ends its workers."""
        return self.begun and multiprocessing.parent_process() is not None

    async def settle(self) -> None:
        """Wait until this process knows what its parent knows."""
        await timers.sleep(_POLLED)


def _function(task: "asyncio.Task[Any]") -> str | None:
    """The name of the coroutine function that a task of Hypercorn's runs; None of another's."""
    coroutine = task.get_coro()
    frame = getattr(coroutine, "cr_frame", None)
    if frame is None or not str(frame.f_globals.get("__name__")).startswith("hypercorn."):
        return None
    return getattr(coroutine, "__name__", None)

"""How a server process learns that it is to end, and makes its server wait until it has drained.

Servers begin their shutdown when SIGTERM comes, each in its own way, and by the time they tell the
application, its clients are gone. So SIGTERM is held back: the server gets it when everything is
drained, or at once if it comes again. SIGINT is left alone: after Ctrl-C the process ends at once.
But uvicorn waits for responses to end, so streams of events, which never would, are told of it.

Service managers may send SIGTERM to all processes of a service, and then the parent passes it on to
its workers. So what comes again within a moment is an echo and not a second request.

A server may tell its workers without a signal (:func:`servers.watch_shutdown`). Then the shutdown
cannot be held back, but leaves some time for draining, and a SIGTERM that their parent sends while
they drain is ignored.
"""

import asyncio
import contextlib
import logging
import math
import os
import signal
import socket
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, ClassVar

from . import clock, servers

__all__ = ["Termination"]

logger = logging.getLogger("channels.draining")

_SIGNAL, _INTERRUPT = signal.SIGTERM, signal.SIGINT

# Seconds within which a signal is an echo. Servers' parents look at least twice a second.
_ECHO = 2.0


class Termination:
    """Runs work, once, before the process of the running event loop ends."""

    #: Whether signals are left alone, for servers that are to end at once.
    disabled: ClassVar[bool] = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: Callable[[], Coroutine[Any, Any, object]]  # set by arm(), and so is this
        self._interrupted: Callable[[], object]
        self._task: asyncio.Task[None] | None = None
        self._signalled_at = -math.inf
        self._process = os.getpid()
        self._shutdown = servers.Shutdown()
        self._handler: Any = None  # the server's
        self._wakeup = -1  # the file descriptor that some event loop has signals written to
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def arm(
        self,
        work: Callable[[], Coroutine[Any, Any, object]],
        interrupted: Callable[[], object] = lambda: None,
    ) -> None:
        """Await ``work()`` before the server gets SIGTERM, where signals can be held back.

        Args:
            work: drains.
            interrupted: called when SIGINT has come, while the server begins its shutdown.
        """
        self._work, self._interrupted = work, interrupted
        if Termination.disabled or self._sockets is not None:
            return
        self._shutdown = servers.watch_shutdown(self._loop, self._begin)
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.getsignal(_SIGNAL)
            # Without a handler there is no shutdown that could wait.
            if callable(self._handler) or (
                self._handler == signal.SIG_DFL and not self._shutdown.by_signal
            ):
                self._intercept()

    # The signal

    def _intercept(self) -> None:
        """Take over SIGTERM from the server's handler.

        Handlers are called in one of two ways: as Python calls them, or by an event loop that
        reads the signal's number from its wakeup file descriptor. So both are taken over.
        """
        reading, writing = sockets = socket.socketpair()
        for end in sockets:
            end.setblocking(False)
        try:
            self._loop.add_reader(reading.fileno(), self._forward)
        except NotImplementedError:  # on Windows processes end without draining
            for end in sockets:
                end.close()
            return
        self._sockets = sockets
        self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(_SIGNAL, self._signalled)

    def _forward(self) -> None:
        """Hand on the numbers of all signals but SIGTERM."""
        if self._sockets is None:
            return
        with contextlib.suppress(OSError):  # nothing to read, or the descriptor is closed
            numbers = self._sockets[0].recv(4096).replace(bytes((_SIGNAL,)), b"")
            if _INTERRUPT in numbers:
                self._loop.call_soon(self._interrupted)
            if numbers and self._wakeup != -1:
                os.write(self._wakeup, numbers)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._process:
            self._signalled_in_child()
            return
        if self._shutdown.is_by_parent():
            return
        now, before = clock.now(), self._signalled_at
        if self._sockets is None:
            # Disarmed, but a handler that was installed meanwhile calls the ones before it.
            if callable(self._handler):
                self._handler(number, frame)
        elif not self._loop.is_running() or (self._task is not None and now - before > _ECHO):
            self._hand_over()
        elif self._task is None:
            self._signalled_at = now
            self._loop.call_soon_threadsafe(self._begin)

    def _signalled_in_child(self) -> None:
        """A forked child has inherited the handler. Leave alone what it shares with its parent."""
        signal.set_wakeup_fd(-1)
        signal.signal(_SIGNAL, self._handler)
        signal.raise_signal(_SIGNAL)

    def _hand_over(self) -> None:
        """Let the server have the signal."""
        self.disarm()
        signal.raise_signal(_SIGNAL)

    def disarm(self) -> None:
        """Restore the signal handler and the wakeup file descriptor as they were before."""
        sockets = self._sockets
        if sockets is None or threading.current_thread() is not threading.main_thread():
            return
        if signal.getsignal(_SIGNAL) == self._signalled and not self._shutdown.is_by_parent():
            signal.signal(_SIGNAL, self._handler)
        if self._sockets is None:
            return  # SIGTERM came before the line above, and its handler has been here
        current = _set_wakeup(self._wakeup)
        if current != sockets[1].fileno():  # other code has taken it over meanwhile
            _set_wakeup(current)
        if not self._loop.is_closed():
            self._forward()  # what has just come
            self._loop.remove_reader(sockets[0].fileno())
        self._sockets = None
        for end in sockets:
            end.close()

    # The work

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            await self._work()
        except Exception:
            logger.exception("Draining failed; the server ends the connections")
        if self._handler == signal.SIG_DFL and not self._shutdown.begun:
            # The signal went to all of the server's processes, and the parent has its own way.
            await self._shutdown.settle()
        if self._sockets is not None and not self._shutdown.begun:
            self._hand_over()


def _set_wakeup(descriptor: int) -> int:
    """Set the wakeup file descriptor, if it is open. Returns the one that was set before."""
    try:
        return signal.set_wakeup_fd(descriptor, warn_on_full_buffer=False)
    except (OSError, ValueError):
        return signal.set_wakeup_fd(-1)

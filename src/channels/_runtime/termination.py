"""How a server process learns that it is to end, and makes its server wait until it has drained.

Servers begin their shutdown when SIGTERM comes, each in its own way, and by the time they tell the
application there is nobody left to be told anything. So SIGTERM is held back: the server gets it
when everything is drained, or at once if it comes again. SIGINT is left alone: somebody who presses
Ctrl-C does not want to wait.

Hypercorn's workers get no signal. What tells them is a task of Hypercorn's, which is watched; its
shutdown cannot be held back, but leaves ``graceful_timeout`` for draining.
"""

import asyncio
import contextlib
import logging
import os
import signal
import socket
import sys
import threading
from collections.abc import Callable, Coroutine
from types import FrameType
from typing import Any, ClassVar

__all__ = ["Termination"]

logger = logging.getLogger("channels.draining")

_SIGNAL = signal.SIGTERM


class Termination:
    """What is to be done before the running event loop's process ends. For one drain."""

    #: Whether signals are left alone, for servers that are to end at once.
    disabled: ClassVar[bool] = False

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._work: Callable[[], Coroutine[Any, Any, object]] | None = None
        self._task: asyncio.Task[None] | None = None
        self._handler: Any = None  # the server's
        self._wakeup = -1  # the file descriptor that some event loop has signals written to
        self._sockets: tuple[socket.socket, socket.socket] | None = None

    def arm(self, work: Callable[[], Coroutine[Any, Any, object]]) -> None:
        """Have ``work()`` awaited before the server gets SIGTERM, as far as that can be had."""
        self._work = work
        if Termination.disabled:
            return
        if "hypercorn" in sys.modules:
            self._watch_hypercorn()
        if threading.current_thread() is threading.main_thread():
            self._handler = signal.getsignal(_SIGNAL)
            if callable(self._handler):  # or the process has no shutdown that could wait
                self._intercept()

    # The signal

    def _intercept(self) -> None:
        """Stand between the process and whoever handles SIGTERM.

        Handlers are called in one of two ways: as Python calls them, or by an event loop that
        reads the signal's number from its wakeup file descriptor. So both are taken over.
        """
        reading, writing = self._sockets = socket.socketpair()
        for end in self._sockets:
            end.setblocking(False)
        self._loop.add_reader(reading.fileno(), self._forward)
        self._wakeup = signal.set_wakeup_fd(writing.fileno(), warn_on_full_buffer=False)
        signal.signal(_SIGNAL, self._signalled)

    def _forward(self) -> None:
        """Hand on the numbers of all signals but SIGTERM."""
        if self._sockets is None:
            return
        with contextlib.suppress(BlockingIOError):
            numbers = self._sockets[0].recv(4096).replace(bytes((_SIGNAL,)), b"")
            if numbers and self._wakeup != -1:
                os.write(self._wakeup, numbers)

    def _signalled(self, number: int, frame: FrameType | None) -> None:
        if self._task is not None or self._loop.is_closed():
            self._hand_over()
        else:
            self._loop.call_soon_threadsafe(self._begin)

    def _hand_over(self) -> None:
        """Let the server have the signal."""
        self.disarm()
        signal.raise_signal(_SIGNAL)

    def disarm(self) -> None:
        """Leave signals as they were found."""
        if self._sockets is None:
            return
        sockets, self._sockets = self._sockets, None
        if signal.getsignal(_SIGNAL) == self._signalled:
            signal.signal(_SIGNAL, self._handler)
        current = signal.set_wakeup_fd(self._wakeup, warn_on_full_buffer=False)
        if current != sockets[1].fileno():  # somebody has taken it over meanwhile
            signal.set_wakeup_fd(current, warn_on_full_buffer=False)
        if not self._loop.is_closed():
            self._loop.remove_reader(sockets[0].fileno())
        for end in sockets:
            end.close()

    # The work

    def _begin(self) -> None:
        if self._task is None:
            self._task = self._loop.create_task(self._run())

    async def _run(self) -> None:
        try:
            if self._work is not None:
                await self._work()
        except Exception:
            logger.exception("Draining failed; the server ends the connections")
        if self._sockets is not None:
            self._hand_over()

    # Hypercorn

    def _watch_hypercorn(self) -> None:
        for task in asyncio.all_tasks(self._loop):
            if getattr(task.get_coro(), "__qualname__", "") == "raise_shutdown":
                task.add_done_callback(self._hypercorn_ends)

    def _hypercorn_ends(self, task: "asyncio.Task[Any]") -> None:
        if not self._loop.is_closed():
            self._begin()

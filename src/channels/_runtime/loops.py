"""State that belongs to one event loop, and the bridge that lets any thread reach a loop.

Connections, futures and tasks live and die with the event loop they were made on, while a layer
is one object for the whole process, used from the server's loop, from loops that tests make one
after another, and from the short-lived ones in which ``async_to_sync`` runs. So what a layer
keeps per loop is kept by loop, and loops that come and go are spared connections of their own:
their calls cross a bridge to one loop that stays, on a daemon thread.
"""

import asyncio
import os
import threading
from collections.abc import Callable, Coroutine
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from asgiref.sync import AsyncToSync

__all__ = ["Bridge", "PerLoop", "bridge", "is_passing"]

_T = TypeVar("_T")


def is_passing(loop: asyncio.AbstractEventLoop) -> bool:
    """Whether ``loop`` was made by ``async_to_sync`` for a single call."""
    return loop in AsyncToSync.loop_thread_executors


class PerLoop(Generic[_T]):
    """One value for each event loop, made when it is first asked for.

    Args:
        make: called on the loop, without arguments.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, _T] = WeakKeyDictionary()
        self._lock = threading.Lock()

    def get(self) -> _T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        value = self._values.get(loop)
        if value is None:
            value = self._make()
            with self._lock:
                self._values[loop] = value
        return value

    def peek(self) -> _T | None:
        """The running loop's value if it has one."""
        return self._values.get(asyncio.get_running_loop())

    def pop(self) -> _T | None:
        """Forget the running loop's value, and return it."""
        with self._lock:
            return self._values.pop(asyncio.get_running_loop(), None)

    def all(self) -> list[tuple[asyncio.AbstractEventLoop, _T]]:
        """Every loop that still exists, and its value."""
        with self._lock:
            return list(self._values.items())


class Bridge:
    """An event loop on a daemon thread, started when it is first needed, one for each process."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._loop: asyncio.AbstractEventLoop | None = None
        self._pid = 0

    @property
    def loop(self) -> asyncio.AbstractEventLoop:
        """The loop, running."""
        if self._loop is None or self._pid != os.getpid():
            with self._lock:
                if self._loop is None or self._pid != os.getpid():
                    self._start()
        if self._loop is None:
            raise RuntimeError("The bridge's event loop did not start")
        return self._loop

    def _start(self) -> None:
        loop = asyncio.new_event_loop()
        thread = threading.Thread(target=self._run, args=(loop,), name="channels-bridge")
        thread.daemon = True
        thread.start()
        self._loop, self._pid = loop, os.getpid()

    @staticmethod
    def _run(loop: asyncio.AbstractEventLoop) -> None:
        asyncio.set_event_loop(loop)
        loop.run_forever()

    def after_fork(self) -> None:
        """Forget the parent's loop and lock, which a fork may have left in any state."""
        self._lock = threading.Lock()
        self._loop = None

    def is_here(self) -> bool:
        """Whether the caller runs on the bridge's loop."""
        return self._loop is not None and asyncio.get_running_loop() is self._loop

    def call(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run ``coroutine`` on the bridge, and wait for it. For threads without an event loop."""
        return asyncio.run_coroutine_threadsafe(coroutine, self.loop).result()

    async def cross(self, coroutine: Coroutine[Any, Any, _T]) -> _T:
        """Run ``coroutine`` on the bridge, and await it on the running loop."""
        return await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(coroutine, self.loop))


#: The process's bridge.
bridge = Bridge()

os.register_at_fork(after_in_child=bridge.after_fork)

"""State that belongs to one event loop, on an object that many loops use."""

import asyncio
import atexit
import contextlib
import gc
import threading
from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary, WeakSet

__all__ = ["PerLoop", "at_exit", "kept"]

_T = TypeVar("_T")


class PerLoop(Generic[_T]):
    """One value for each event loop, made when it is first asked for.

    A value may have a coroutine method ``aclose()``, which is awaited when the bridge's loop ends,
    and a method ``abandon()``, which is called some time after any other loop has been closed.

    Args:
        make: called on the loop, without arguments.
    """

    def __init__(self, make: Callable[[], _T]) -> None:
        self._make = make
        self._values: WeakKeyDictionary[asyncio.AbstractEventLoop, _T] = WeakKeyDictionary()
        #: The loop that has asked last, and its value. Callers that cannot afford a call look here
        #: first, and compare the loop with the running one.
        self.latest: tuple[asyncio.AbstractEventLoop | None, _T | None] = (None, None)
        self._lock = threading.Lock()
        kept.add(self)

    def get(self) -> _T:
        """The running loop's value."""
        loop = asyncio.get_running_loop()
        value = self._values.get(loop)
        if value is None:
            value = self._make()
            orphans = self._put(loop, value)
            for orphan in orphans:
                abandon = getattr(orphan, "abandon", None)
                if abandon is not None:
                    abandon()
        self.latest = loop, value
        return value

    def _put(self, loop: asyncio.AbstractEventLoop, value: _T) -> list[_T]:
        """Keep a value, and return those of loops that have been closed.

        A value usually keeps its loop alive, so these would never be freed otherwise.
        """
        with self._lock:
            closed = [other for other in self._values if other.is_closed()]
            orphans = [self._values.pop(other) for other in closed]
            self._values[loop] = value
        return orphans

    def peek(self) -> _T | None:
        """The running loop's value if it has one."""
        return self._values.get(asyncio.get_running_loop())

    def pop(self) -> _T | None:
        """Forget the running loop's value, and return it."""
        with self._lock:
            self.latest = None, None
            return self._values.pop(asyncio.get_running_loop(), None)

    async def aclose(self) -> None:
        """Forget the running loop's value, and close it if it can be closed."""
        aclose = getattr(self.pop(), "aclose", None)
        if aclose is not None:
            await aclose()

    def renew_lock(self) -> None:
        """In a forked child, where a thread that is not there may have held it."""
        self._lock = threading.Lock()

    def all(self) -> list[tuple[asyncio.AbstractEventLoop, _T]]:
        """Every loop that still exists, and its value."""
        with self._lock:
            return list(self._values.items())

    def forget(self) -> bool:
        """Drop the values of all loops that do not run. Returns whether there were any."""
        with self._lock:
            self.latest = None, None
            idle = [loop for loop in self._values if not loop.is_running()]
            values = [self._values.pop(loop) for loop in idle]
        for value in values:
            abandon = getattr(value, "abandon", None)
            if abandon is not None:
                with contextlib.suppress(Exception):  # the loop is gone, there is no caller
                    abandon()
        return bool(values)


#: All instances of :class:`PerLoop`.
kept: "WeakSet[PerLoop[Any]]" = WeakSet()

#: Called as the interpreter exits, to release what else refers to event loops.
at_exit: list[Callable[[], object]] = []


# Registered before the bridge registers its end, and so called after it.
@atexit.register
def _forget_all() -> None:
    """Leave no coroutine to the interpreter's last collection, when Python is half gone.

    A loop that was never closed may have some. Python 3.11 has crashed when they were ended there.
    """
    for callback in at_exit:
        callback()
    if sum(values.forget() for values in list(kept)):
        gc.collect()

"""What clients did lately and have open, in the memory of one process: bounded, whoever comes."""

from weakref import WeakSet

from ..._runtime.buckets import Buckets
from ..._runtime.forks import in_child

__all__ = ["Store"]

_all: "WeakSet[Store]" = WeakSet()


class Store:
    """What is counted for one policy."""

    def __init__(self) -> None:
        #: The token buckets.
        self.buckets = Buckets()
        self._open: dict[str, set[object]] = {}
        _all.add(self)

    def count(self, key: str) -> int:
        """How many connections are open."""
        return len(self._open.get(key, ()))

    def open(self, key: str, connection: object) -> None:
        """A connection begins. What is open is always remembered."""
        self._open.setdefault(key, set()).add(connection)

    def close(self, key: str, connection: object) -> None:
        """A connection has ended."""
        connections = self._open.get(key, set())
        connections.discard(connection)
        if not connections:
            self._open.pop(key, None)

    def clear(self) -> None:
        """Forget everything."""
        self.buckets.clear()
        self._open.clear()


def _after_fork() -> None:
    """A child has none of its parent's connections."""
    for store in list(_all):
        store.clear()


in_child(_after_fork)

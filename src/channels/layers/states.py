"""States within one process: dicts with a name, which expire."""

import heapq
from collections.abc import Callable, Iterator
from typing import Any, NamedTuple

from .._runtime import clock

__all__ = ["MAX_REVISION", "LocalStates", "require_revision", "require_state_expiry"]

#: What every broker can compare exactly: Lua has no numbers but floats of 64 bits.
MAX_REVISION = 2**53

# States of all collections together. When there are more, a tenth of them makes room: those that
# would expire first.
_LIMIT = 100_000


def require_revision(revision: int | None) -> None:
    """Refuse what is no revision with ``ValueError``."""
    if revision is not None and (type(revision) is not int or not 0 <= revision <= MAX_REVISION):
        raise ValueError(f"revision must be a whole number from 0 to 2**53, not {revision!r}")


def require_state_expiry(expiry: float) -> None:
    """Refuse what is no time to live with ``ValueError``."""
    if type(expiry) not in (int, float) or not expiry > 0:  # nor NaN
        raise ValueError(f"expiry of a state must be seconds, more than 0, not {expiry!r}")


class _State(NamedTuple):
    """One state: until when it is there, and a function that makes a copy of its value."""

    end: float
    revision: int
    value: Callable[[], dict[str, Any]]


class LocalStates:
    """The states of a layer in one process. The caller holds a lock.

    Args:
        limit: states of all collections together.
    """

    def __init__(self, limit: int = _LIMIT) -> None:
        self._limit = limit
        self._collections: dict[str, dict[str, _State]] = {}
        self._count = 0
        self._sets = 0

    def __len__(self) -> int:
        """How many are kept, some of which may have expired."""
        return self._count

    def set(
        self,
        collection: str,
        field: str,
        value: Callable[[], dict[str, Any]],
        expiry: float,
        revision: int | None,
        capacity: int,
    ) -> bool:
        """Keep a state, unless a newer one is there; see ``BaseChannelLayer.set_state``."""
        now = clock.now()
        self._make_room(collection, field, capacity, now)
        states = self._collections.setdefault(collection, {})
        known = states.get(field)
        if known is not None and known.end > now and revision is not None:
            if revision < known.revision:
                return False
            if revision == known.revision and value() != known.value():
                return False
        self._count += known is None
        states[field] = _State(now + expiry, revision or 0, value)
        return True

    def get(self, collection: str) -> dict[str, Callable[[], dict[str, Any]]]:
        """What makes copies of a collection's values, by field."""
        now = clock.now()
        states = self._collections.get(collection, {})
        return {field: state.value for field, state in states.items() if state.end > now}

    def delete(self, collection: str, field: str) -> None:
        """Forget a state, if there is one."""
        states = self._collections.get(collection, {})
        if states.pop(field, None) is not None:
            self._count -= 1
            if not states:
                del self._collections[collection]

    def clear(self) -> None:
        """Forget all."""
        self._collections.clear()
        self._count = 0

    def _make_room(self, collection: str, field: str, capacity: int, now: float) -> None:
        self._sets += 1
        if self._sets > self._count or self._count >= self._limit:  # a look at each now and then
            self._sets = 0
            self._delete_first(self._all(), now, self._limit * 9 // 10)
        states = self._collections.get(collection, {})
        if field not in states and len(states) >= capacity:
            own = ((state.end, collection, name) for name, state in states.items())
            self._delete_first(own, now, capacity - 1)

    def _all(self) -> Iterator[tuple[float, str, str]]:
        for collection, states in self._collections.items():
            for field, state in states.items():
                yield state.end, collection, field

    def _delete_first(self, ends: Iterator[tuple[float, str, str]], now: float, most: int) -> None:
        """Delete what has expired, and what would next if more than ``most`` are left."""
        found = list(ends)
        expired = sum(end <= now for end, _, _ in found)
        for _, collection, field in heapq.nsmallest(max(expired, len(found) - most), found):
            self.delete(collection, field)

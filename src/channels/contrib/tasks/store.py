"""What a place for tasks does, whatever it is, and which one a backend has."""

import sys
import threading
from collections.abc import Collection, Sequence
from typing import Any, Protocol

from channels._runtime.forks import in_child
from channels.exceptions import InvalidChannelLayerError
from channels.layers import InMemoryChannelLayer, channel_layers, get_channel_layer

from .codec import Codec
from .options import TaskOptions
from .records import Counts, Outcome, Record, Taken

__all__ = ["Store", "forget_stores", "store_for"]


class Store(Protocol):
    """Keeps the tasks of one backend. It is one object, for every thread and every event loop.

    Every coroutine raises :class:`~channels.exceptions.BrokerError` if the broker cannot do it.
    """

    #: Encodes what is kept.
    codec: Codec
    #: Whether the tasks are in the memory of this process, so that nobody else sees them.
    is_local: bool

    def new_id(self, queue: str) -> str:
        """An ID for a new task of this queue, of at most 64 characters."""

    async def enqueue(self, record: Record) -> None:
        """Keep a new task.

        Raises:
            QueueFull: the queue holds ``capacity`` tasks.
        """

    async def load(self, task_id: str) -> Record | None:
        """A task; None if there is none of this ID, or its result has expired."""

    async def fetch(
        self,
        worker: str,
        queues: Sequence[str],
        count: int,
        running: Collection[str] | None = None,
        *,
        has_suspect: bool = False,
    ) -> list[Taken]:
        """Give tasks to a worker: those that dead workers had, those that are due, and new ones.

        Higher priorities come first, and first come is first served within one.

        Args:
            worker: its name.
            queues: where from; what the first one has comes first.
            count: how many at most.
            running: after an answer that was lost, the IDs of the tasks that the worker has. Others
                that it was given are in the answer again.
            has_suspect: the worker runs a task that has been lost with two workers, so it is given
                no other that has been lost with one.
        """

    async def wait(self, worker: str, queues: Sequence[str]) -> None:
        """Return when there may be something to fetch, after some seconds at the latest."""

    async def settle(self, worker: str, outcomes: Sequence[Outcome]) -> list[bool]:
        """Store what became of attempts, and take the tasks out of their queues, in one step.

        Returns:
            For each whether it counts; False if another worker's attempt has taken its place.
        """

    async def beat(self, worker: str, queues: Sequence[str]) -> None:
        """Tell that a worker is alive: what it was given stays its own for another lease."""

    async def leave(self, worker: str, queues: Sequence[str], begun: Collection[str]) -> int:
        """A worker ends: give back what it was given and has not settled.

        Args:
            worker: its name.
            queues: where from.
            begun: the IDs of those with which it has begun.

        Returns:
            How many tasks went back.
        """

    async def counts(self, queue: str) -> Counts:
        """How many tasks there are, and what has become of others."""

    async def dead(self, queue: str, limit: int) -> list[Record]:
        """The dead letters of a queue, the oldest first."""

    async def revive(self, queue: str, ids: Sequence[str]) -> int:
        """Put dead letters into the queue again, with all their attempts before them.

        Returns:
            How many of them there were.
        """

    async def bury(self, queue: str, ids: Sequence[str]) -> int:
        """Delete dead letters; returns how many of them there were."""

    async def aclose(self) -> None:
        """Let go of what belongs to the running event loop."""


class _Stores:
    """The stores of this process, by the alias of their backends."""

    def __init__(self) -> None:
        self._lock = threading.Lock()
        self._made: dict[str, tuple[Any, TaskOptions, Store]] = {}

    def get(self, alias: str, options: TaskOptions) -> Store:
        layer = _layer_of(alias, options)
        with self._lock:
            found = self._made.get(alias)
            if found is None or found[0] is not layer or found[1] != options:
                found = self._made[alias] = (layer, options, _make(alias, options, layer))
            return found[2]

    def forget(self) -> None:
        """Make all stores anew. In a forked child that means: without what the parent has."""
        _of_parents.append(self._made)
        self._lock, self._made = threading.Lock(), {}


# Never collected as garbage in a child, where that would disturb connections of the parent.
_of_parents: list[Any] = []


def _layer_of(alias: str, options: TaskOptions) -> Any:
    if options.layer not in channel_layers and options.layer not in channel_layers.backends:
        raise InvalidChannelLayerError(
            f"TASKS[{alias!r}] works on the channel layer {options.layer!r}, which CHANNEL_LAYERS "
            "does not have: configure it, or name another one as OPTIONS['layer']"
        )
    return get_channel_layer(options.layer)


def _make(alias: str, options: TaskOptions, layer: Any) -> Store:
    from .memory import MemoryStore  # noqa: PLC0415 - they import this module

    if isinstance(layer, InMemoryChannelLayer):
        return MemoryStore(options)
    # A Redis layer that exists has imported its client, an extra.
    redis = sys.modules.get("channels.layers.redis.layer")
    if redis is not None and isinstance(layer, redis.RedisLayer):
        from .redis.store import RedisStore  # noqa: PLC0415 - an extra

        return RedisStore(alias, options, layer)
    raise InvalidChannelLayerError(
        f"TASKS[{alias!r}]: tasks work on the in-memory channel layer and on those on Redis, "
        f"not on {type(layer).__name__}, which is CHANNEL_LAYERS[{options.layer!r}]: configure one "
        "of those under another alias, and name that as OPTIONS['layer']"
    )


_stores = _Stores()
in_child(_stores.forget)


def store_for(alias: str, options: TaskOptions) -> Store:
    """The store of a backend, made when it is first asked for, and kept.

    Args:
        alias: of the backend.
        options: of the backend.

    Raises:
        InvalidChannelLayerError: there is no such layer, or tasks cannot work on it.
    """
    return _stores.get(alias, options)


def forget_stores() -> None:
    """Make the stores of this process anew when they are next asked for."""
    _stores.forget()

"""Where the last known state of each job is kept: in the layer, or else in a cache of Django's."""

import asyncio
from typing import Any, Protocol

from django.conf import settings
from django.core.cache import caches

from ..._runtime.clock import wall
from ...exceptions import InvalidChannelLayerError, SerializationError
from ...layers import get_channel_layer
from ...layers.base import BaseChannelLayer
from ...layers.third_party import adapt
from .job import Job, JobState, attempt_of, job_group, user_group

__all__ = ["CacheStates", "Jobs", "LayerStates", "States", "cache_alias", "require_layer"]

#: Jobs of a user that are listed: the latest.
LISTED = 100

# The fields of a job's collection.
_STATE, _ALIVE = "state", "alive"


class States(Protocol):
    """Keeps dicts with names, as channel layers do (``BaseChannelLayer.set_state``)."""

    async def set(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        revision: int | None = None,
    ) -> bool:
        """Keep a value for some seconds, unless a newer one is there; whether it was set."""

    async def get(self, collection: str) -> dict[str, dict[str, Any]]:
        """What is kept in a collection, by field."""


class LayerStates:
    """States in a channel layer.

    Args:
        layer: one that supports states.
    """

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._layer = layer

    async def set(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        revision: int | None = None,
    ) -> bool:
        """Keep a value; see :class:`States`."""
        return await self._layer.set_state(collection, field, value, expiry, revision=revision)

    async def get(self, collection: str) -> dict[str, dict[str, Any]]:
        """What is kept in a collection, by field."""
        return await self._layer.get_states(collection)


class CacheStates:
    """States in a cache of Django's, for channel layers that keep none.

    A collection is one value of the cache. It is read and written in two steps, so of two processes
    that set something in it at the same moment one may undo what the other did, until that one
    sets it again.

    Args:
        alias: in ``CACHES``.
    """

    def __init__(self, alias: str) -> None:
        self._cache = caches[alias]

    async def set(
        self,
        collection: str,
        field: str,
        value: dict[str, Any],
        expiry: float,
        revision: int | None = None,
    ) -> bool:
        """Keep a value; see :class:`States`."""
        now, entries = wall(), await self._load(collection)
        known = entries.get(field)
        if known is not None and revision is not None and known[1] >= revision:
            return False
        entries[field] = (now + expiry, revision or 0, value)
        last = max(end for end, _, _ in entries.values())
        await self._cache.aset(_key(collection), entries, last - now)
        return True

    async def get(self, collection: str) -> dict[str, dict[str, Any]]:
        """What is kept in a collection, by field."""
        return {field: value for field, (_, _, value) in (await self._load(collection)).items()}

    async def _load(self, collection: str) -> dict[str, tuple[float, int, dict[str, Any]]]:
        now, found = wall(), await self._cache.aget(_key(collection))
        return {field: entry for field, entry in (found or {}).items() if entry[0] > now}


def _key(collection: str) -> str:
    return f"channels.{collection}"


def cache_alias() -> str:
    """Which of ``CACHES`` is used for a layer without states."""
    alias: str = getattr(settings, "CHANNELS_PROGRESS_CACHE", "default")
    return alias


def require_layer(alias: str) -> BaseChannelLayer:
    """The channel layer of this alias.

    Raises:
        InvalidChannelLayerError: there is none, or one without groups.
    """
    layer: Any = get_channel_layer(alias)
    if layer is None:
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS has no layer {alias!r}; configure it")
    adapted = adapt(layer)
    if not adapted.supports_groups:
        raise InvalidChannelLayerError(f"Channel layer {alias!r} has no groups to tell of progress")
    return adapted


class Jobs:
    """The jobs that are known at a channel layer.

    Args:
        layer: which one.
    """

    def __init__(self, layer: BaseChannelLayer) -> None:
        self._states: States = (
            LayerStates(layer) if layer.supports_state else CacheStates(cache_alias())
        )

    async def load(self, job_id: str) -> Job | None:
        """The last known state of a job, or None. It is ``lost`` if its reporter has died."""
        found = await self._states.get(job_group(job_id))
        try:
            job = Job.from_dict(found.get(_STATE))
        except SerializationError:
            return None
        # The sign of life of a newer attempt, which is about to begin, is none of this one.
        alive = found.get(_ALIVE, {}).get("attempt") == job.attempt
        if job.state is JobState.RUNNING and not alive:
            return Job.from_dict({**job.as_dict(), "state": JobState.LOST})
        return job

    async def load_of(self, owner: str) -> list[Job]:
        """The latest jobs of a user, the newest first."""
        index = await self._states.get(user_group(owner))
        latest = sorted(index, key=lambda name: index[name].get("began", 0), reverse=True)
        jobs = await asyncio.gather(*(self.load(name) for name in latest[:LISTED]))
        return [job for job in jobs if job is not None and job.owner == owner]

    async def save(self, job: Job, keep: float) -> bool:
        """Keep the state of a job for ``keep`` seconds; False if a newer one is there."""
        content, revision = job.as_dict(), job.revision
        return await self._states.set(job_group(job.id), _STATE, content, keep, revision)

    async def list(self, job: Job, began: float, keep: float) -> None:
        """Put a job on the list of its owner's, for ``keep`` seconds.

        Args:
            job: which one.
            began: when it began, in seconds since the epoch.
            keep: how long.
        """
        if job.owner is not None:
            await self._states.set(user_group(job.owner), job.id, {"began": began}, keep)

    async def beat(self, job_id: str, lost_after: float, revision: int) -> None:
        """Say that an attempt of a job goes on, for ``lost_after`` seconds.

        Args:
            job_id: which job.
            lost_after: how long.
            revision: of that attempt, greater with each sign of life.
        """
        sign = {"attempt": attempt_of(revision)}
        await self._states.set(job_group(job_id), _ALIVE, sign, lost_after, revision)

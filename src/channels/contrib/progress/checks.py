"""System checks: whether what workers report can be found by server processes."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Warning, register  # noqa: A004
from django.utils.module_loading import import_string

from ...layers.base import BaseChannelLayer
from .store import cache_alias

__all__ = ["check_progress"]

_OF_ONE_PROCESS = ("LocMemCache", "DummyCache")


@register("channels")
def check_progress(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn of a layer that keeps no states, if the cache in its place belongs to one process."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    try:
        backend = import_string(layers["default"]["BACKEND"])
    except Exception:  # noqa: BLE001 - other checks report it
        return []
    known = isinstance(backend, type) and issubclass(backend, BaseChannelLayer)
    if known and (backend.supports_state or not backend.supports_processes):
        return []
    alias = cache_alias()
    cache = str(settings.CACHES.get(alias, {}).get("BACKEND", ""))
    if cache.rpartition(".")[2] not in _OF_ONE_PROCESS:
        return []
    return [
        Warning(
            f"The channel layer 'default' keeps no states, and the cache {alias!r}, which "
            "channels.contrib.progress uses in its place, belongs to one process: pages do not "
            "find what workers have reported before they came.",
            hint="Use a layer of channels_redis, or name a cache that processes share in "
            "CHANNELS_PROGRESS_CACHE.",
            id="channels.W020",
        )
    ]

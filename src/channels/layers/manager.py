"""The project's channel layers, as the setting ``CHANNEL_LAYERS`` describes them."""

import threading
from typing import Any, cast

from django.conf import settings
from django.core.signals import setting_changed
from django.utils.module_loading import import_string

from .. import DEFAULT_CHANNEL_LAYER
from .._runtime import layer_access, per_loop
from .._runtime.forks import in_child
from ..exceptions import InvalidChannelLayerError
from .base import ChannelLayer, FullChannelLayer
from .carriers import adopt

__all__ = ["ChannelLayerManager", "channel_layers", "get_channel_layer"]

_ENTRY = "{'BACKEND': 'dotted.path.of.Layer', 'CONFIG': {...}}"


class ChannelLayerManager:
    """Makes each configured layer when it is first asked for, and keeps it."""

    def __init__(self) -> None:
        #: The layers made so far, by alias.
        self.backends: dict[str, ChannelLayer] = {}
        self._lock = threading.RLock()
        setting_changed.connect(self._reset_backends)

    def _renew_lock(self) -> None:
        """In a forked child, where a thread that is not there may have held it."""
        self._lock = threading.RLock()

    def _reset_backends(self, setting: str, **kwargs: Any) -> None:
        if setting == "CHANNEL_LAYERS":
            with self._lock:
                self.backends = {}

    @property
    def configs(self) -> dict[str, dict[str, Any]]:
        """The setting ``CHANNEL_LAYERS``, or an empty dict.

        Raises:
            InvalidChannelLayerError: it is no dict.
        """
        configs: dict[str, dict[str, Any]] = getattr(settings, "CHANNEL_LAYERS", None) or {}
        if not isinstance(configs, dict):
            raise InvalidChannelLayerError(
                f"CHANNEL_LAYERS must be a dict such as {{'default': {_ENTRY}}}, not of type "
                f"{type(configs).__name__}"
            )
        return configs

    def make_backend(self, name: str) -> ChannelLayer:
        """A new layer with the ``CONFIG`` of alias ``name``.

        Raises:
            InvalidChannelLayerError: its entry in ``CHANNEL_LAYERS`` is malformed.
        """
        return self._make_backend(name, "CONFIG")

    def make_test_backend(self, name: str) -> ChannelLayer:
        """A new layer with the ``TEST_CONFIG`` of alias ``name``.

        Raises:
            InvalidChannelLayerError: it has no ``TEST_CONFIG``.
        """
        if "TEST_CONFIG" not in self.configs.get(name, {}):
            raise InvalidChannelLayerError(f"No TEST_CONFIG specified for {name}")
        return self._make_backend(name, "TEST_CONFIG")

    def _make_backend(self, name: str, key: str) -> ChannelLayer:
        entry = self.configs[name]
        # Values are not repeated: they may hold the broker's password.
        if not isinstance(entry, dict):
            raise InvalidChannelLayerError(
                f"CHANNEL_LAYERS[{name!r}] must be a dict such as {_ENTRY}, not of type "
                f"{type(entry).__name__}"
            )
        config = entry.get(key, {})
        if not isinstance(config, dict):
            raise InvalidChannelLayerError(
                f"{key} of CHANNEL_LAYERS[{name!r}] must be a dict of the layer's options, not of "
                f"type {type(config).__name__}"
            )
        if "ROUTING" in entry:
            raise InvalidChannelLayerError(
                f"ROUTING key found for {name}: routing is given to ProtocolTypeRouter since "
                "Channels 2; remove the key"
            )
        try:
            path = entry["BACKEND"]
        except KeyError:
            raise InvalidChannelLayerError(
                f"No BACKEND specified for {name}; write CHANNEL_LAYERS[{name!r}] = {_ENTRY}"
            ) from None
        try:
            backend = import_string(path)
        except ImportError as error:
            raise InvalidChannelLayerError(
                f"Cannot import BACKEND {path!r} specified for {name}: {error}"
            ) from error
        try:
            layer: ChannelLayer = backend(**config)
        except Exception as error:
            error.add_note(f"{key} of CHANNEL_LAYERS[{name!r}] does not fit {path}: correct it")
            raise
        adopt(layer)
        return layer

    def __getitem__(self, key: str) -> ChannelLayer:
        """The layer of alias ``key``; ``KeyError`` when none is configured."""
        try:
            return self.backends[key]
        except KeyError:
            with self._lock:
                if key not in self.backends:
                    self.backends[key] = self.make_backend(key)
                return self.backends[key]

    def __contains__(self, key: object) -> bool:
        return key in self.configs

    def set(self, key: str, layer: ChannelLayer | None) -> ChannelLayer | None:
        """Use ``layer`` for the alias ``key``; returns the layer that was used for it, or None.

        With None the alias has the configured layer again. Call it with what it returned to restore
        the layer from before.
        """
        with self._lock:
            old = self.backends.pop(key, None)
            if layer is not None:
                self.backends[key] = layer
        return old


#: The project's layers.
channel_layers = ChannelLayerManager()
in_child(channel_layers._renew_lock)
per_loop.at_exit.append(lambda: channel_layers._reset_backends("CHANNEL_LAYERS"))


def get_channel_layer(alias: str = DEFAULT_CHANNEL_LAYER) -> FullChannelLayer:
    """The channel layer of this alias, or None if none is configured.

    The type leaves None out: a project that uses a layer has configured it, and a check before
    every call would find nothing that ``manage.py check`` and the first message do not. Code that
    has to work with and without a layer asks ``if alias in channel_layers``. It also takes for
    granted what layers of others may lack.

    Raises:
        InvalidChannelLayerError: it is configured, but cannot be made.
    """
    if alias not in channel_layers.backends and alias not in channel_layers:
        return None  # type: ignore[return-value]
    return cast("FullChannelLayer", channel_layers[alias])


layer_access.provide(get_channel_layer)

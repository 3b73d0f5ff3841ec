"""Third-party channel layers: what they may lack, and which names they use for it.

All other modules use only what :class:`~channels.layers.BaseChannelLayer` has. A third-party layer
may have no more than ``send``, ``receive``, ``new_channel`` and the methods of groups, and its
``BACKEND`` may be a function that makes such a layer.
"""

from collections.abc import Callable
from inspect import isawaitable
from typing import Any

from django.core.checks import CheckMessage

from .._runtime.types import Mailbox
from ..exceptions import NotSupported
from .base import BaseChannelLayer
from .option_checks import Options, check_signature
from .receiving import ReceivingMailbox

__all__ = ["adapt", "check_options", "close", "supports_processes"]


def adapt(layer: Any) -> BaseChannelLayer:
    """``layer`` itself if it derives from ``BaseChannelLayer``, or else an adapter for it."""
    return layer if isinstance(layer, BaseChannelLayer) else _Adapter(layer)


class _Adapter(BaseChannelLayer):
    """Gives a layer that does not derive from ``BaseChannelLayer`` the methods of that class."""

    def __init__(self, layer: Any) -> None:
        self._layer = layer
        self.extensions = list(getattr(layer, "extensions", ()))
        self.serialize = getattr(layer, "serialize", None)

    async def send(self, channel: str, message: dict[str, Any]) -> None:
        await self._layer.send(channel, message)

    async def receive(self, channel: str) -> dict[str, Any]:
        message: dict[str, Any] = await self._layer.receive(channel)
        return message

    async def new_channel(self) -> str:
        name: str = await self._layer.new_channel()
        return name

    async def group_add(self, group: str, channel: str) -> None:
        await self._layer.group_add(group, channel)

    async def group_discard(self, group: str, channel: str) -> None:
        await self._layer.group_discard(group, channel)

    async def group_send(self, group: str, message: dict[str, Any]) -> None:
        await self._layer.group_send(group, message)

    async def flush(self) -> None:
        await self._layer.flush()

    def require_valid_channel_name(self, name: str, receive: bool = False) -> bool:
        require = getattr(self._layer, "require_valid_channel_name", None)
        return require is None or bool(require(name))

    def require_valid_group_name(self, name: str) -> bool:
        require = getattr(self._layer, "require_valid_group_name", None)
        return require is None or bool(require(name))

    def open_mailbox(self, channel: str, wake: Callable[[], None]) -> Mailbox:
        own = getattr(self._layer, "open_mailbox", None)
        mailbox: Mailbox = (
            own(channel, wake) if own else ReceivingMailbox(self._layer, channel, wake)
        )
        return mailbox

    def _no_delayed_sends(self, method: str, layer: object = None) -> NotSupported:
        return super()._no_delayed_sends(method, self._layer)

    async def stop_receiving(self, channel: str) -> None:
        stop = getattr(self._layer, "stop_receiving", None)
        if stop is not None:
            await stop(channel)


async def close(layer: Any) -> None:
    """Close a layer, under the first of the names that layers have for it, if it has one."""
    for name in ("close", "aclose", "close_pools"):
        method = getattr(layer, name, None)
        if method is not None:
            closing = method()
            if isawaitable(closing):
                await closing
            return


def check_options(backend: Any, options: Options) -> list[CheckMessage]:
    """What is wrong with the options that a project's settings give to ``backend``."""
    if not _is_layer_class(backend):
        return check_signature(backend, options)
    try:
        found: list[CheckMessage] = backend.check(options)
    except Exception as error:  # noqa: BLE001 - a check reports, whatever happens
        hint = "The check of the layer is broken; its authors can repair it."
        return [options.refuse(f"check() raised {type(error).__name__}: {error}", hint)]
    return found


def supports_processes(backend: Any) -> bool:
    """Whether the layers that ``backend`` makes reach other processes, as far as is known."""
    return not _is_layer_class(backend) or bool(backend.supports_processes)


def _is_layer_class(backend: Any) -> bool:
    return isinstance(backend, type) and issubclass(backend, BaseChannelLayer)

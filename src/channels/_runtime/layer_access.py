"""Finding a channel layer from where layers are not known: limits that processes share need one."""

from collections.abc import Callable
from typing import Any

__all__ = ["find_layer", "provide"]

_find: Callable[[str], Any] | None = None


def provide(find: Callable[[str], Any]) -> None:
    """Say how layers are found. ``channels.layers`` does so when it is imported.

    Args:
        find: given an alias, returns the layer, or None if there is none.
    """
    global _find  # noqa: PLW0603 - there is one way for the process
    _find = find


def find_layer(alias: str) -> Any:
    """The channel layer with that alias, or None if there is none."""
    return None if _find is None else _find(alias)

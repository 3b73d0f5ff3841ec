"""What a forked child does with what was its parent's."""

import os
import selectors
from collections.abc import Callable
from typing import Any

__all__ = ["disown", "in_child"]


def in_child(callback: Callable[[], None]) -> None:
    """Call ``callback`` in every child that is forked, on systems that fork."""
    if hasattr(os, "register_at_fork"):  # pragma: no branch - Windows has no forks
        os.register_at_fork(after_in_child=callback)


# Kept so that they are never collected as garbage: their finalizers would close and warn of what
# belongs to the parent.
_of_parents: list[Any] = []


def disown(selector: selectors.BaseSelector, *things: Any) -> None:
    """Detach a forked child from the sockets of its parent, without disturbing the parent.

    The descriptors are replaced by ones that lead nowhere. To close them through the event loop
    would not do: the kernel's epoll set is shared by both processes, so the parent would go deaf.

    Args:
        selector: of the loop.
        things: the loop, and what else would be missed only by the parent.
    """
    _of_parents.append((selector, things))
    descriptors = [key.fd for key in selector.get_map().values()]
    if hasattr(selector, "fileno"):
        descriptors.append(selector.fileno())
    nowhere = os.open(os.devnull, os.O_RDWR)
    try:
        for descriptor in descriptors:
            if descriptor == nowhere:  # it was closed before, so its number was free
                continue
            os.dup2(nowhere, descriptor, inheritable=False)
    finally:
        if nowhere not in descriptors:
            os.close(nowhere)

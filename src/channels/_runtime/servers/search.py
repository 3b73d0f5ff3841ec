"""From the ``send`` that a consumer is given to the objects of the server behind it."""

import contextlib
import functools
from collections.abc import Callable, Iterator
from types import BuiltinFunctionType, FunctionType, MemberDescriptorType, MethodType, ModuleType
from typing import Any, TypeVar

from ..types import Send

__all__ = ["found_behind"]

_T = TypeVar("_T")

# How the objects of middleware refer to the next send.
_NEXT = ("real_send", "send")
_MOST = 30  # objects looked at


def found_behind(send: Send, recognise: Callable[[type], _T | None]) -> Iterator[tuple[Any, _T]]:
    """The objects behind ``send`` whose classes are recognised, the nearest first.

    It follows what middleware is made of: bound methods, partials, closures, and objects that
    keep the next ``send`` in an attribute. It runs no code of theirs, looks at 30 objects at most,
    and not behind those that it has found.

    Args:
        send: where to begin.
        recognise: given an object's class, returns what it is recognised as, or None.

    Yields:
        Each object, and what it was recognised as.
    """
    queue: list[Any] = [send]
    for looked_at in range(_MOST):
        if looked_at == len(queue):
            break
        here = queue[looked_at]
        recognised = recognise(type(here))
        if recognised is not None:
            yield here, recognised
            continue
        try:
            for value in _behind(here):
                if not any(value is known for known in queue):
                    queue.append(value)
        except Exception:  # noqa: BLE001, S112 - of an object with attributes of its own making
            continue


def _behind(here: Any) -> Iterator[Any]:
    kind = type(here)  # isinstance() would ask the object, and wake a lazy one
    if issubclass(kind, functools.partial):
        yield from (here.func, *here.args)
    elif kind is MethodType or kind is BuiltinFunctionType:
        yield here.__self__
    elif kind is FunctionType:
        for cell in here.__closure__ or ():
            with contextlib.suppress(ValueError):  # it is empty
                if callable(cell.cell_contents):
                    yield cell.cell_contents
    elif not issubclass(kind, type | ModuleType):
        for name in _NEXT:
            value = _stored(here, name)
            if value is not None:
                yield value


def _stored(here: Any, name: str) -> Any:
    """An attribute that the object itself holds, or None. To compute one could do anything."""
    try:
        return object.__getattribute__(here, "__dict__").get(name)
    except AttributeError:  # it has slots
        pass
    for base in type(here).__mro__:
        slot = base.__dict__.get(name)
        if isinstance(slot, MemberDescriptorType):
            with contextlib.suppress(AttributeError):  # it is empty
                return slot.__get__(here)
    return None

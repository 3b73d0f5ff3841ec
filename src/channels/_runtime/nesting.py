"""Whether a router of paths is somewhere inside an application."""

import functools
import inspect
from collections.abc import Iterator, Mapping
from types import FunctionType, MethodType
from typing import Any

__all__ = ["held_by", "inside", "is_wsgi", "routes_further"]

# Objects that are looked at for one application. Middleware is a few layers deep.
_LIMIT = 1000


def routes_further(application: object) -> bool:
    """Whether this is a router of paths, or middleware of any kind around one.

    Middleware may be an object, which has what it wraps in an attribute of any name, or a
    function, which has it among its variables (a closure). A router, of any package, has
    ``_path_routing = True``.
    """
    return any(getattr(inner, "_path_routing", False) is True for inner in inside(application))


def is_wsgi(application: object) -> bool:
    """Whether this is called as WSGI applications are: with an environment and a function."""
    try:
        signature = inspect.signature(application)  # type: ignore[arg-type]
        signature.bind(None, None)
    except (TypeError, ValueError):
        return False
    try:
        signature.bind(None, None, None)
    except TypeError:
        return True
    return False


def inside(application: object) -> Iterator[object]:
    """``application``, and what it can call because it holds it. The nearest come first."""
    seen: set[int] = set()
    waiting = [application]
    for found in waiting:
        if len(seen) == _LIMIT:
            return
        if callable(found) and not isinstance(found, type) and id(found) not in seen:
            seen.add(id(found))
            yield found
            waiting.extend(held_by(found))


def held_by(found: Any) -> Iterator[object]:
    """What an application holds, whether it can be called or not."""
    if isinstance(found, MethodType):
        found = found.__self__  # which need not be callable itself
        yield found
    elif isinstance(found, functools.partial):
        yield found.func
        yield from found.args
        yield from found.keywords.values()
    elif isinstance(found, FunctionType):
        for cell in found.__closure__ or ():
            try:
                yield from _each(cell.cell_contents)
            except ValueError:  # a variable that has no value yet
                continue
    for value in list(getattr(found, "__dict__", {}).values()):
        yield from _each(value)
    for base in type(found).__mro__:
        slots = vars(base).get("__slots__", ())
        for name in (slots,) if isinstance(slots, str) else slots:
            yield from _each(getattr(found, name, None))


def _each(value: object) -> Iterator[object]:
    """The value, or what it holds if it is a collection."""
    if isinstance(value, Mapping):
        yield from value.values()
    elif isinstance(value, list | tuple):
        yield from value
    else:
        yield value

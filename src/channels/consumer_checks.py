"""System check of the consumers that ``ASGI_APPLICATION`` leads to: the kind of their methods."""

import dis
import inspect
from collections.abc import Iterator
from types import FunctionType
from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from ._runtime.kinds import twin
from ._runtime.nesting import inside
from .application_checks import targets

__all__ = ["check_methods"]

_TAG = "channels"

# No handlers: plain methods of both kinds of consumers, whose names projects may give to handlers.
_PLAIN = frozenset({"background_stopping", "start_background_task"})


@register(_TAG)
def check_methods(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find methods that override a coroutine with a plain method, or the other way round."""
    classes: dict[type, None] = {}
    for target in targets():
        for found in inside(target):
            cls = getattr(found, "consumer_class", None)
            if isinstance(cls, type):
                classes[cls] = None
    return [message for cls in classes for message in _check(cls)]


def _check(cls: Any) -> Iterator[CheckMessage]:
    base, other = twin(cls)
    sync = getattr(cls, "_sync", False)
    for name in _overridden(cls):
        method = inspect.getattr_static(cls, name)
        method = getattr(method, "__func__", method)  # of a class method
        if name in _PLAIN:
            continue
        if sync and inspect.iscoroutinefunction(method):
            is_, write = f"a coroutine, which {base} does not await", f"`def {name}(...)`"
        elif not sync and _returns_nothing(method):
            is_, write = f"a plain method, which {base} awaits", f"`async def {name}(...)`"
        else:
            continue
        instead = f", or derive the class from {other}" if other else ""
        yield Warning(
            f"{cls.__module__}.{cls.__qualname__}.{name}() is {is_}: it fails when it is called.",
            hint=f"Write {write}{instead}.",
            id="channels.W014",
        )


def _overridden(cls: type) -> Iterator[str]:
    """The methods of the framework's class that the project's classes override."""
    own: set[str] = set()
    for base in cls.__mro__:
        if "_channels_protocol_handlers" not in vars(base):
            own.update(name for name in vars(base) if not name.startswith("_"))
            continue
        for name in vars(base):
            if name in own:
                own.remove(name)  # the nearest class of the framework will do
                yield name


def _returns_nothing(method: object) -> bool:
    """Whether this is a plain function that returns None wherever it returns.

    One that returns anything may return what can be awaited, as decorators do.
    """
    if not isinstance(method, FunctionType) or method.__code__.co_flags & inspect.CO_GENERATOR:
        return False
    if inspect.iscoroutinefunction(method) or inspect.isasyncgenfunction(method):
        return False
    before: Any = None
    for step in dis.get_instructions(method):
        if step.opname in {"RETURN_CONST", "RETURN_VALUE"}:
            # Python 3.12 and 3.13 return a constant in one step; others load it in the one before.
            constant = step if step.opname == "RETURN_CONST" else before
            if constant.opname not in {"RETURN_CONST", "LOAD_CONST"} or constant.argval is not None:
                return False
        before = step
    return True

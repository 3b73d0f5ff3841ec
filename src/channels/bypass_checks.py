"""System checks of applications that neither permissions nor limits reach.

A consumer's ``__call__()`` asks its permissions and holds its clients to limits. A class that
overrides it without calling it, and an application that is no consumer, do neither.
"""

import inspect
from collections.abc import Iterable, Iterator
from types import CodeType, FunctionType
from typing import Any

from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004

from ._runtime.nesting import held_by, inside
from .application_checks import callbacks, consumer_class, ways
from .security.permissions.base import Permission

__all__ = ["check_ignored_declarations", "check_unguarded"]

_TAG = "channels"

# What says who may connect, and how much, if a consumer has it.
_DECLARED = ("permissions", "permission_classes", "client_limits", "refuse_by_close")

_DOES_NOT_CALL = (
    "Let it end with `await super().__call__(scope, receive, send)`, or put what it does into a "
    "middleware (channels.middleware.BaseMiddleware) around the consumer."
)
_NO_CONSUMER = (
    "Put PermissionMiddleware (channels.security.permissions) and LimitMiddleware "
    "(channels.security.limits) around it, or make it a consumer."
)


@register(_TAG)
def check_ignored_declarations(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find permissions and limits of classes that never ask them."""
    messages: dict[str, CheckMessage] = {}
    for found, _ in ways():
        cls = consumer_class(found)
        if cls is None:
            cls, why, hint = type(found), "is no consumer", _NO_CONSUMER
        elif _is_bypassing(cls):
            why, hint = "overrides __call__() and does not call super().__call__()", _DOES_NOT_CALL
        else:
            continue
        declared = list(_declared(cls))
        if declared:
            name = f"{cls.__module__}.{cls.__qualname__}"
            messages[name] = Warning(
                f"{name} has {' and '.join(declared)}, which nobody reads, because the class "
                f"{why}: everybody may connect, and do as much as they like.",
                hint=hint,
                id="channels.W035",
            )
    return list(messages.values())


@register(Tags.security, deploy=True)
def check_unguarded(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find WebSockets that are served by something to which ``CHANNELS_LIMITS`` does not apply."""
    names = sorted(set(_unguarded()))
    if not names:
        return []
    return [
        Warning(
            "Neither permissions nor limits (CHANNELS_LIMITS included) reach what serves these "
            f"WebSockets, because it is no consumer, or overrides __call__(): {', '.join(names)}.",
            hint=_NO_CONSUMER,
            id="channels.W036",
        )
    ]


def _declared(cls: type) -> Iterator[str]:
    """What a project's class declares that only a consumer's ``__call__()`` reads."""
    for name in _DECLARED:
        for base in cls.__mro__:
            if name in vars(base):
                value = vars(base)[name]
                if not base.__module__.startswith("channels.") and _is_meant(name, value):
                    yield name
                break


def _is_meant(name: str, value: object) -> bool:
    """Whether this is what the attribute of that name is for; it may be something else's name."""
    if not value or inspect.isroutine(value) or isinstance(value, property):
        return False
    if name in ("client_limits", "refuse_by_close"):
        return True
    parts = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    return any(isinstance(it, Permission) or hasattr(it, "has_permission") for it in parts)


def _unguarded() -> Iterator[str]:
    """The names of what serves WebSockets, and no permission and no limit stands in front."""
    from .routing import ProtocolTypeRouter, URLRouter  # noqa: PLC0415

    for found, _ in ways(protocol="websocket", ends=_guards):
        targets: Iterable[object] = ()
        if isinstance(found, URLRouter):
            targets = callbacks(found.routes)
        elif isinstance(found, ProtocolTypeRouter):
            targets = [found.application_mapping.get("websocket")]
        else:
            cls = consumer_class(found)
            if cls is not None and _is_bypassing(cls):
                yield cls.__qualname__
        yield from (_name(target) for target in targets if _is_foreign(target))


def _guards(found: object) -> bool:
    from .security.limits import LimitMiddleware  # noqa: PLC0415
    from .security.permissions import PermissionMiddleware  # noqa: PLC0415

    if isinstance(found, LimitMiddleware):
        return "websocket" in found.protocols
    return isinstance(found, PermissionMiddleware)


def _is_foreign(target: object) -> bool:
    """Whether an application serves clients itself, by nothing of Channels and Django."""
    from django.core.handlers.asgi import ASGIHandler  # noqa: PLC0415

    return callable(target) and not any(
        consumer_class(it) is not None
        or isinstance(it, ASGIHandler)
        or hasattr(it, "application_mapping")
        or getattr(it, "_path_routing", False) is True
        or str(getattr(it, "__module__", "")).startswith("channels.contrib.")
        or _guards(it)
        for it in inside(target)
    )


def _name(target: Any) -> str:
    name: str = getattr(target, "__qualname__", None) or type(target).__qualname__
    return name


# Whether __call__() leads to that of the framework


def _is_bypassing(cls: type) -> bool:
    """Whether a project's ``__call__()`` leads to none of the framework's, as far as can be seen.

    What is no plain Python function may do anything, so it is believed to.
    """
    for base in cls.__mro__:
        if "__call__" in vars(base):
            if "_channels_protocol_handlers" in vars(base):
                return False
            return not _calls_on(vars(base)["__call__"], cls, set())
    return False  # another package's, which makes something else of the class


def _calls_on(method: object, cls: type, seen: set[object]) -> bool:
    if not isinstance(method, FunctionType):
        return True
    seen.add(method)
    names = set(_names(method.__code__))
    if "__call__" in names:
        return True
    helpers = [inspect.getattr_static(cls, name, None) for name in names]
    helpers += held_by(method)  # what a decorator has got
    return any(
        _calls_on(it, cls, seen)
        for it in helpers
        if isinstance(it, FunctionType) and it not in seen and not _is_ours(it)
    )


def _names(code: CodeType) -> Iterator[str]:
    """The names that a function uses, and the functions that are written in it."""
    yield from code.co_names
    for constant in code.co_consts:
        if isinstance(constant, CodeType):
            yield from _names(constant)


def _is_ours(function: FunctionType) -> bool:
    return function.__module__.startswith("channels.")

"""System check of permissions: whether the user that they look at can be there."""

import inspect
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from ._runtime.nesting import held_by
from .application_checks import callbacks, project_application
from .security.permissions.base import Permission, entry_rule
from .security.permissions.middleware import PermissionMiddleware

__all__ = ["check_permissions"]

_TAG = "channels"
_LIMIT = 10_000  # objects that are looked at


@register(_TAG)
def check_permissions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find permissions that look at a user which no middleware finds, and what is none."""
    messages: dict[tuple[str, str | None], CheckMessage] = {}
    for found, before in _ways(project_application()):
        for message in _check(found, before):
            messages.setdefault((message.msg, message.id), message)
    return list(messages.values())


def _check(found: Any, before: tuple[object, ...]) -> Iterator[CheckMessage]:
    cls = _consumer_class(found)
    if isinstance(found, PermissionMiddleware):
        name = f"PermissionMiddleware({found.permission!r})"
        rule: Permission | None = found.permission
    elif cls is not None:
        declared = inspect.getattr_static(cls, "permissions", None)
        name, rule = f"{cls.__module__}.{cls.__qualname__}.permissions", entry_rule(declared)
        if rule is None and isinstance(declared, str | list | tuple | set | frozenset) and declared:
            yield Warning(
                f"{name} is {declared!r}, which Channels does not read: everybody may connect.",
                hint="Write permissions of channels.security.permissions, for instance "
                'HasPermission("app.change_page"), or give the attribute another name.',
                id="channels.W031",
            )
    else:
        return
    if rule is not None and rule.needs_user and not any(map(_may_find_user, before)):
        yield Warning(
            f"{name} looks at scope['user'], which no middleware around it puts there: every "
            "client is refused, with an error.",
            hint="Wrap the routes in channels.auth.AuthMiddlewareStack(...).",
            id="channels.W030",
        )


def _consumer_class(found: Any) -> type | None:
    """The consumers' class, if this is what ``as_asgi()`` returns, and not a function around it."""
    wrapped = getattr(found, "__wrapped__", None)
    if wrapped is not None and not isinstance(wrapped, type):
        return None
    cls = getattr(found, "consumer_class", None)
    return cls if isinstance(cls, type) else None


def _may_find_user(middleware: object) -> bool:
    """Whether this is known to put a user into the scope, or is not known."""
    from .auth import AuthMiddleware  # noqa: PLC0415
    from .security.tokens import TokenAuthMiddleware  # noqa: PLC0415

    is_ours = type(middleware).__module__.startswith("channels.")
    return not is_ours or isinstance(middleware, AuthMiddleware | TokenAuthMiddleware)


def _ways(start: object) -> Iterator[tuple[object, tuple[object, ...]]]:
    """Every application that ``start`` leads to, with what stands in front of it."""
    from .routing import URLRouter  # noqa: PLC0415

    seen: set[int] = set()
    waiting: list[tuple[object, tuple[object, ...]]] = [(start, ())]
    while waiting and len(seen) < _LIMIT:
        found, before = waiting.pop()
        if not callable(found) or isinstance(found, type) or id(found) in seen:
            continue
        seen.add(id(found))
        yield found, before
        if _consumer_class(found) is None:
            inner = callbacks(found.routes) if isinstance(found, URLRouter) else held_by(found)
            waiting.extend((it, (*before, found)) for it in inner)

"""System check of permissions: whether the user that they look at can be there."""

import inspect
from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Warning, register  # noqa: A004

from .application_checks import consumer_class, ways
from .security.permissions.base import Permission, entry_rule
from .security.permissions.middleware import PermissionMiddleware

__all__ = ["check_permissions"]

_TAG = "channels"

# What consumers of other packages, and views, call it.
_MISNAMED = ("permission", "permission_class", "permission_classes")


@register(_TAG)
def check_permissions(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find permissions that look at a user which no middleware finds, and what is none."""
    messages: dict[tuple[str, str | None], CheckMessage] = {}
    for found, before in ways():
        for message in _check(found, before):
            messages.setdefault((message.msg, message.id), message)
    return list(messages.values())


def _check(found: Any, before: tuple[object, ...]) -> Iterator[CheckMessage]:
    cls = consumer_class(found)
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
        if rule is None:
            yield from _check_names(cls)
    else:
        return
    if rule is not None and rule.needs_user and not any(map(_may_find_user, before)):
        yield Warning(
            f"{name} looks at scope['user'], which no middleware around it puts there: every "
            "client is refused, with an error.",
            hint="Wrap the routes in channels.auth.AuthMiddlewareStack(...).",
            id="channels.W030",
        )


def _check_names(cls: type) -> Iterator[CheckMessage]:
    """Find permissions that stand where Channels does not look for them."""
    for name in _MISNAMED:
        value = inspect.getattr_static(cls, name, None)
        if inspect.isroutine(value):
            continue
        parts = value if isinstance(value, list | tuple | set | frozenset) else (value,)
        if any(hasattr(part, "has_permission") for part in parts):
            yield Warning(
                f"{cls.__module__}.{cls.__qualname__}.{name} has permissions, which Channels does "
                "not read: everybody may connect.",
                hint="Call the attribute permissions, and write permissions of "
                "channels.security.permissions, for instance IsAuthenticated() & IsStaff().",
                id="channels.W031",
            )


def _may_find_user(middleware: object) -> bool:
    """Whether this is known to put a user into the scope, or is not known."""
    from .auth import AuthMiddleware  # noqa: PLC0415
    from .security.tokens import TokenAuthMiddleware  # noqa: PLC0415

    is_ours = type(middleware).__module__.startswith("channels.")
    return not is_ours or isinstance(middleware, AuthMiddleware | TokenAuthMiddleware)

"""System checks of a deployment: whether pages of other sites can open its WebSockets."""

from collections.abc import Iterator
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004

from ._runtime.nesting import held_by
from .application_checks import callbacks, project_application

__all__ = ["check_origins"]

# Objects that are looked at for one application.
_LIMIT = 5000


@register(Tags.security, deploy=True)
def check_origins(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find consumers of WebSockets that any site's page may open with its visitor's cookies."""
    routes = getattr(project_application(), "application_mapping", {})
    if not isinstance(routes, dict) or "websocket" not in routes:
        return []
    open_to_all, validators = _look_into(routes["websocket"])
    messages: list[CheckMessage] = [
        Warning(
            f"Any site can open the WebSockets of {name} with the cookies of its visitors: no "
            "origin is checked (cross-site WebSocket hijacking).",
            hint="Wrap the application in AllowedHostsOriginValidator or OriginValidator.",
            id="channels.W032",
        )
        for name in sorted(open_to_all)
    ]
    if any(_admits_all(validator) for validator in validators):
        messages.append(
            Warning(
                "The origin of WebSockets is checked, but every origin is allowed.",
                hint='Name your hosts in place of "*", in ALLOWED_HOSTS or in the origins of '
                "OriginValidator.",
                id="channels.W033",
            )
        )
    return messages


def _admits_all(validator: Any) -> bool:
    from .security.websocket import AllowedHostsOriginValidator  # noqa: PLC0415

    if isinstance(validator, AllowedHostsOriginValidator):
        return "*" in settings.ALLOWED_HOSTS
    return "*" in validator.allowed_origins


def _look_into(application: object) -> tuple[set[str], list[object]]:
    """The names of consumers that no validator is in front of, and all the validators.

    A token comes with no cookie, so foreign pages do not have it. Where only tokens tell who the
    client is, no origin has to be checked.
    """
    from .routing import URLRouter  # noqa: PLC0415
    from .security.tokens import TokenAuthMiddleware  # noqa: PLC0415
    from .security.websocket import OriginValidator  # noqa: PLC0415
    from .sessions import CookieMiddleware  # noqa: PLC0415

    names: set[str] = set()
    validators: list[object] = []
    seen: set[int] = set()
    waiting = [(application, False, False)]
    for found, by_token, by_cookie in waiting:
        if id(found) in seen or isinstance(found, type) or not callable(found):
            continue
        seen.add(id(found))
        by_token = by_token or isinstance(found, TokenAuthMiddleware)
        by_cookie = by_cookie or isinstance(found, CookieMiddleware)
        if isinstance(found, OriginValidator):
            validators.append(found)
        elif hasattr(found, "consumer_class"):
            if by_cookie or not by_token:
                names.add(found.consumer_class.__qualname__)
        elif len(seen) < _LIMIT:
            further: Iterator[object] = (
                callbacks(found.routes) if isinstance(found, URLRouter) else held_by(found)
            )
            waiting.extend((inner, by_token, by_cookie) for inner in further)
    return names, validators

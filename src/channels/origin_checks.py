"""System checks of a deployment: whether pages of other sites can open its WebSockets."""

from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Tags, Warning, register  # noqa: A004

from .application_checks import consumer_class, ways

__all__ = ["check_origins"]


@register(Tags.security, deploy=True)
def check_origins(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find consumers of WebSockets that any site's page may open with its visitor's cookies."""
    open_to_all, validators = _look_into()
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


def _look_into() -> tuple[set[str], list[object]]:
    """The names of consumers that no validator is in front of, and all the validators.

    A token comes with no cookie, so foreign pages do not have it. Where only tokens tell who the
    client is, no origin has to be checked.
    """
    from .security.tokens import TokenAuthMiddleware  # noqa: PLC0415
    from .security.websocket import OriginValidator  # noqa: PLC0415
    from .sessions import CookieMiddleware  # noqa: PLC0415

    def checks_origins(found: object) -> bool:
        return isinstance(found, OriginValidator)

    names: set[str] = set()
    validators: list[object] = []
    for found, before in ways(protocol="websocket", ends=checks_origins):
        cls: Any = consumer_class(found)
        if checks_origins(found):
            validators.append(found)
        elif hasattr(cls, "websocket_connect"):
            by_cookie = any(isinstance(it, CookieMiddleware) for it in before)
            by_token = any(isinstance(it, TokenAuthMiddleware) for it in before)
            if by_cookie or not by_token:
                names.add(cls.__qualname__)
    return names, validators

"""System checks of tokens: of tickets the setting and the cache, and of middleware its order."""

from typing import Any

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from ._runtime.nesting import inside
from .application_checks import project_application, targets, ways

__all__ = ["check_nested_tokens", "check_ticket_cache", "check_tickets"]

_TAG = "channels"


@register(_TAG)
def check_tickets(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_TICKETS``."""
    from .security.tokens.tickets import TicketPlan  # noqa: PLC0415

    try:
        TicketPlan.from_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="channels.E020")]
    return []


@register(Tags.security, deploy=True)
def check_ticket_cache(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find tickets that are kept where only one process sees them, or none at all."""
    from .security.tokens.tickets import TicketPlan  # noqa: PLC0415

    if not _uses_tickets():
        return []
    try:
        alias = TicketPlan.from_settings().cache
        cache = caches[alias]
    except Exception:  # noqa: BLE001 - the check above, or Django's own, says why
        return []
    if not isinstance(cache, LocMemCache | DummyCache):
        return []
    return [
        Warning(
            f"Tickets are kept in the cache {alias!r}, a {type(cache).__name__}: a ticket that one "
            "process has made is unknown to all others, which refuse it.",
            hint="Name a cache that all processes share in CHANNELS_TICKETS['CACHE'], such as one "
            "on Redis, Memcached or the database.",
            id="channels.W040",
        )
    ]


@register(_TAG)
def check_nested_tokens(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find middleware that requires tokens which another one, further out, takes away."""
    from .security.tokens import TokenAuthMiddleware  # noqa: PLC0415
    from .security.tokens.verifying import are_alike  # noqa: PLC0415

    names: set[str] = set()
    for found, before in ways():
        if isinstance(found, TokenAuthMiddleware) and found.required:
            names.update(
                type(verifier).__qualname__
                for outer in before
                if isinstance(outer, TokenAuthMiddleware)
                for verifier in outer.verifiers
                if not any(are_alike(verifier, own) for own in found.verifiers)
            )
    if not names:
        return []
    return [
        Warning(
            "A TokenAuthMiddleware(required=True) is inside another one, which takes the tokens of "
            f"clients: those that {', '.join(sorted(names))} has accepted there are refused.",
            hint="Give the inner one the same verifiers, or put neither inside the other. To let "
            "some tokens in and others not, write a permission that looks at scope['token'].",
            id="channels.W041",
        )
    ]


def _uses_tickets() -> bool:
    """Whether the application verifies tickets."""
    from .security.tokens import TicketVerifier, TokenAuthMiddleware  # noqa: PLC0415

    return any(
        isinstance(verifier, TicketVerifier)
        for start in (project_application(), *targets())
        for found in inside(start)
        if isinstance(found, TokenAuthMiddleware)
        for verifier in found.verifiers
    )

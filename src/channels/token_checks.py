"""System checks of tickets: the setting, and the cache where they are kept."""

from typing import Any

from django.core.cache import caches
from django.core.cache.backends.dummy import DummyCache
from django.core.cache.backends.locmem import LocMemCache
from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from ._runtime.nesting import inside
from .application_checks import project_application, targets

__all__ = ["check_ticket_cache", "check_tickets"]

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

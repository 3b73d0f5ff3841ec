"""System check of the live page."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from ..._runtime.nesting import inside
from ...application_checks import project_application, targets
from .routing import live_path

__all__ = ["check_live_page"]

_NEEDED = ("channels", "django.contrib.admin", "django.contrib.auth")


def check_live_page(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Whether the page has what it needs: other apps, and a route for its WebSocket."""
    found: list[CheckMessage] = [
        Error(
            f"channels.contrib.admin needs {name!r}, which is not in INSTALLED_APPS.",
            hint=f"Add {name!r} to INSTALLED_APPS.",
            id="channels.admin.E001",
        )
        for name in _NEEDED
        if not apps.is_installed(name)
    ]
    try:
        live_path()
    except ImproperlyConfigured as error:
        found.append(Error(str(error), id="channels.admin.E002"))
    if not found and project_application() is not None and not _is_routed():
        found.append(
            Warning(
                f"No route of {getattr(settings, 'ASGI_APPLICATION', None)} leads to the WebSocket "
                "of the admin's live page, which therefore stays empty.",
                hint="Put live_route() of channels.contrib.admin into the URLRouter of "
                "WebSockets, as its first route.",
                id="channels.admin.W001",
            )
        )
    return found


def _is_routed() -> bool:
    from .consumers import LiveConsumer  # noqa: PLC0415 - it imports models

    return any(
        getattr(candidate, "consumer_class", None) is LiveConsumer
        for target in targets()
        for candidate in inside(target)
    )

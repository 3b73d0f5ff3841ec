"""Where the page's WebSocket is."""

from typing import Any

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.urls import URLPattern, path

__all__ = ["live_path", "live_route"]

_DEFAULT = "channels/live/"


def live_path() -> str:
    """The path of the page's WebSocket, without a slash in front: ``CHANNELS_LIVE_PATH``.

    Raises:
        ImproperlyConfigured: the setting is no such path.
    """
    value = getattr(settings, "CHANNELS_LIVE_PATH", _DEFAULT)
    if not isinstance(value, str) or not value.strip("/") or set("<>?#") & set(value):
        raise ImproperlyConfigured(
            f"CHANNELS_LIVE_PATH is {value!r}, which is no path. Write one such as {_DEFAULT!r}"
        )
    return value.lstrip("/")


def live_route() -> URLPattern:
    """A route for ``URLRouter``: the WebSocket of the admin's live page.

    It checks origins against ``ALLOWED_HOSTS`` and finds the user of the session by itself, so it
    works inside ``AuthMiddlewareStack`` and ``AllowedHostsOriginValidator`` as well as outside.

    Raises:
        ImproperlyConfigured: the setting ``CHANNELS_LIVE_PATH`` is no path.
    """
    # Apps are not loaded yet when this module is imported.
    from ...auth import AuthMiddlewareStack  # noqa: PLC0415
    from ...security.websocket import AllowedHostsOriginValidator  # noqa: PLC0415
    from .consumers import LiveConsumer  # noqa: PLC0415

    application: Any = AllowedHostsOriginValidator(AuthMiddlewareStack(LiveConsumer.as_asgi()))
    route: URLPattern = path(live_path(), application)
    return route

"""Noticing that ``channels`` is missing from ``INSTALLED_APPS``, as far as anything of it runs."""

import logging
from functools import cache
from typing import Any

from django.apps import apps
from django.core.checks import CheckMessage, Warning, register  # noqa: A004

__all__ = ["check_installed", "remind"]

logger = logging.getLogger("channels.handshake")

_MISSING = (
    "'channels' is not in INSTALLED_APPS, so manage.py has none of its commands and checks: "
    "runserver serves no WebSockets, and answers their paths with 404."
)
_HINT = "Put 'channels' at the top of INSTALLED_APPS."
_UNREAD = (
    "INSTALLED_APPS is empty, as if your project's settings had not been read: set "
    "DJANGO_SETTINGS_MODULE before Python starts, if something calls settings.configure() first."
)


# Registered when anything of the package is imported: an app that is not installed is not asked.
@register("channels")
def check_installed(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Whether the app whose modules the project imports is installed."""
    return [] if _is_installed() else [Warning(_MISSING, hint=_HINT, id="channels.W011")]


@cache
def remind() -> None:
    """If the app is missing, write a line to the log, and do without it; once in a process."""
    if apps.ready and not _is_installed():
        from . import database  # noqa: PLC0415 - what imports the package may need no database

        database.watch()
        logger.warning("%s %s", _MISSING, _HINT if list(apps.get_app_configs()) else _UNREAD)


def _is_installed() -> bool:
    return any(config.name == "channels" for config in apps.get_app_configs())


# A project that imports anything late, as views do, is past the moment at which checks are chosen.
if apps.ready:
    remind()

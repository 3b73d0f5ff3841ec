"""System checks: what ``manage.py check`` and most other commands tell about your settings.

=================  ================================================================================
``channels.E001``  ``ASGI_APPLICATION`` cannot be imported, or is no ASGI application.
``channels.E002``  ``CHANNEL_LAYERS`` does not have the shape of such a setting.
``channels.E003``  A channel layer has ``ROUTING``, as before Channels 2.
``channels.E004``  A channel layer's ``BACKEND`` cannot be imported.
``channels.E005``  A channel layer's backend does not take its ``CONFIG``.
``channels.E006``  A channel layer does not carry messages (``check --deploy``).
``channels.E007``  ``CHANNELS_DRAIN`` is no such setting.
``channels.E008``  ``CHANNELS_SYNC_THREADS`` or ``CHANNELS_BACKGROUND_THREADS`` is no number.
``channels.E016``  ``CHANNELS_REVOCATION`` is no such setting.
``channels.E009``  ``CHANNELS_LIMITS`` or ``CHANNELS_TRUSTED_PROXIES`` is no such setting.
``channels.E010``  Limits are shared through a channel layer that cannot do that.
``channels.E020``  ``CHANNELS_TICKETS`` is no such setting.
``channels.W001``  ``ASGI_APPLICATION`` is missing, with ``DEBUG`` on.
``channels.W002``  ``runserver`` would not serve WebSockets.
``channels.W003``  ``runserver`` has no server to run, with ``DEBUG`` on.
``channels.W004``  A channel layer has a setting that nobody reads.
``channels.W005``  The in-memory layer, although there are several server processes.
``channels.W006``  The in-memory layer in a deployment (``check --deploy``).
``channels.W007``  ``ASGI_APPLICATION`` queries the database when it is imported, and fails.
``channels.W008``  A channel layer's ``CONFIG`` lets it carry no message.
``channels.W009``  The distribution ``channels_redis`` is installed beside this one.
``channels.W010``  A channel layer's server evicts keys when it is full (``check --deploy``).
``channels.W011``  ``channels`` is not in ``INSTALLED_APPS``.
``channels.W012``  A route begins with a slash.
``channels.W013``  ``asgi.py`` imports models before it sets Django up.
``channels.W014``  A consumer's method is a plain one where a coroutine is needed, or the reverse.
``channels.W020``  ``contrib.progress`` keeps its states in a cache of one process.
``channels.W030``  Permissions look at a user that no middleware finds.
``channels.W031``  The ``permissions`` of a consumer are no permissions.
``channels.W032``  A consumer whose WebSockets any site may open (``check --deploy``).
``channels.W033``  An origin check that admits every origin (``check --deploy``).
``channels.W034``  A public WebSocket without any limits (``check --deploy``).
``channels.W035``  Permissions or limits of a class that never asks them.
``channels.W036``  WebSockets that no permission and no limit reaches (``check --deploy``).
``channels.W040``  Tickets are kept in a cache that other processes do not see (``check --deploy``).
``channels.W041``  Tokens are required where another middleware has taken them away.
=================  ================================================================================

No check raises, however broken the settings are: it reports. Those of ``CHANNEL_LAYERS`` are in a
module of their own, ``layer_checks``; those of routes and imports in ``application_checks``,
those of consumers in ``consumer_checks``, ``permission_checks`` and ``bypass_checks``, and those of
tokens in ``token_checks``.
"""

from importlib import metadata
from importlib.util import find_spec
from typing import Any

from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError

from ._runtime.background_threads import thread_limit
from ._runtime.draining import Plan
from ._runtime.installed import check_installed
from ._runtime.threads import thread_count
from .application_checks import check_import_order, check_routes
from .bypass_checks import check_ignored_declarations, check_unguarded
from .consumer_checks import check_methods
from .layer_checks import check_channel_layers, check_deployed_channel_layers
from .limit_checks import check_limits, check_shared_limits, check_unlimited
from .origin_checks import check_origins
from .permission_checks import check_permissions
from .token_checks import check_nested_tokens, check_ticket_cache, check_tickets

__all__ = [
    "check_application",
    "check_channel_layers",
    "check_deployed_channel_layers",
    "check_draining",
    "check_ignored_declarations",
    "check_import_order",
    "check_installed",
    "check_limits",
    "check_methods",
    "check_nested_tokens",
    "check_origins",
    "check_packages",
    "check_permissions",
    "check_revocation",
    "check_routes",
    "check_runserver",
    "check_shared_limits",
    "check_threads",
    "check_ticket_cache",
    "check_tickets",
    "check_unguarded",
    "check_unlimited",
]

_TAG = "channels"
_SERVERS_OF_WEBSOCKETS = ("channels", "daphne")


@register(_TAG)
def check_application(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Import the application as a server would, for only that shows whether it can be."""
    from .routing import get_default_application  # noqa: PLC0415

    setting = getattr(settings, "ASGI_APPLICATION", None)
    if setting is None:
        return _missing_application() if settings.DEBUG else []
    try:
        application: object = get_default_application()
    except ImproperlyConfigured as error:
        problem = str(error)
    except DatabaseError as error:
        # No error: it may be for want of the tables that this very command is to make.
        return [
            Warning(
                f"ASGI_APPLICATION {setting!r} queries the database when it is imported, which "
                f"raised {_describe(error)}",
                hint="Make no queries at import; a server cannot start without the tables.",
                id="channels.W007",
            )
        ]
    except (Exception, SystemExit) as error:  # noqa: BLE001  project code, at import
        problem = f"Importing ASGI_APPLICATION {setting!r} raised {_describe(error)}"
    else:
        if callable(application):
            return []
        problem = f"ASGI_APPLICATION {setting!r} is no application: {application!r}."
    hint = (
        "Set ASGI_APPLICATION to the dotted path of your ASGI application, such as "
        "'mysite.asgi.application', and try `python -c 'import mysite.asgi'`."
    )
    return [Error(problem, hint=hint, id="channels.E001")]


def _missing_application() -> list[CheckMessage]:
    return [
        Warning(
            "The setting ASGI_APPLICATION is missing, so runserver and runworker find nothing "
            "to run.",
            hint="Set it to the dotted path of your ASGI application, such as "
            "'mysite.asgi.application'.",
            id="channels.W001",
        )
    ]


@register(_TAG)
def check_runserver(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Warn when the app that Django takes ``runserver`` from serves no WebSockets."""
    from django.core.management import get_commands  # noqa: PLC0415

    provider = get_commands().get("runserver")
    if not _serves_websockets(provider):
        return [
            Warning(
                f"runserver is the command of {provider!r}, which does not serve WebSockets.",
                hint="Put 'channels' before it in INSTALLED_APPS.",
                id="channels.W002",
            )
        ]
    # Production does not use runserver and need not have its server.
    if settings.DEBUG and provider == "channels" and find_spec("uvicorn") is None:
        return [
            Warning(
                "runserver needs uvicorn, which is not installed.",
                hint="`pip install 'channels[uvicorn]'`, or install Daphne and put 'daphne' at "
                "the top of INSTALLED_APPS.",
                id="channels.W003",
            )
        ]
    return []


def _serves_websockets(provider: Any) -> bool:
    """Whether this app's ``runserver`` is, or extends, one that serves ASGI applications."""
    if provider in _SERVERS_OF_WEBSOCKETS:
        return True
    if provider in (None, "django.core", "django.contrib.staticfiles"):
        return False
    from django.core.management import load_command_class  # noqa: PLC0415

    try:
        command = (
            load_command_class(provider, "runserver") if isinstance(provider, str) else provider
        )
    except Exception:  # noqa: BLE001  the command itself will say what is wrong with it
        return False
    packages = {base.__module__.partition(".")[0] for base in type(command).__mro__}
    return not packages.isdisjoint(_SERVERS_OF_WEBSOCKETS)


@register(_TAG)
def check_threads(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_SYNC_THREADS`` and ``CHANNELS_BACKGROUND_THREADS``."""
    messages: list[CheckMessage] = []
    for read in (thread_count, thread_limit):
        try:
            read()
        except ImproperlyConfigured as error:
            messages.append(Error(str(error), id="channels.E008"))
    return messages


@register(_TAG)
def check_draining(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_DRAIN``."""
    try:
        Plan.from_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="channels.E007")]
    return []


@register(_TAG)
def check_revocation(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_REVOCATION``."""
    from .revocation.plan import Plan as RevocationPlan  # noqa: PLC0415

    try:
        RevocationPlan.from_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="channels.E016")]
    return []


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"


@register(_TAG)
def check_packages(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Look for another distribution that brings a package ``channels_redis``, as this one does."""
    try:
        other = metadata.distribution("channels_redis")
    except metadata.PackageNotFoundError:
        return []
    return [
        Warning(
            f"The distribution channels_redis {other.version} is installed beside this one, which "
            "brings a package of that name too: one has overwritten the other's files.",
            hint="`pip uninstall channels_redis`, and then install this distribution again, which "
            "has lost the files that were overwritten (`pip install --force-reinstall`).",
            id="channels.W009",
        )
    ]

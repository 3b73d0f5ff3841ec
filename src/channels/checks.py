"""System checks: what ``manage.py check`` and most other commands tell about your settings.

=================  ================================================================================
``channels.E001``  ``ASGI_APPLICATION`` cannot be imported, or is not an application.
``channels.E002``  ``CHANNEL_LAYERS`` does not have the shape of such a setting.
``channels.E003``  A channel layer has ``ROUTING``, as before Channels 2.
``channels.E004``  A channel layer's ``BACKEND`` cannot be imported.
``channels.E005``  A channel layer's backend does not take its ``CONFIG``.
``channels.E006``  A channel layer does not carry messages (``check --deploy``).
``channels.E007``  ``CHANNELS_DRAIN`` is no such setting.
``channels.E008``  ``CHANNELS_SYNC_THREADS`` is no number of threads.
``channels.W001``  ``ASGI_APPLICATION`` is missing, with ``DEBUG`` on.
``channels.W002``  ``runserver`` would not serve WebSockets.
``channels.W003``  ``runserver`` has no server to run, with ``DEBUG`` on.
``channels.W004``  A channel layer has a setting that nobody reads.
``channels.W005``  The in-memory layer, although there are several server processes.
``channels.W006``  The in-memory layer in a deployment (``check --deploy``).
``channels.W007``  ``ASGI_APPLICATION`` queries the database when it is imported, and fails.
``channels.W008``  A channel layer's ``CONFIG`` lets it carry no message.
=================  ================================================================================

No check raises, however broken the settings are: it reports.
"""

import asyncio
import inspect
import os
from collections.abc import Iterator
from contextlib import suppress
from importlib.util import find_spec
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured
from django.db import DatabaseError
from django.utils.module_loading import import_string

from ._runtime.draining import Plan
from ._runtime.threads import thread_count

__all__ = [
    "check_application",
    "check_channel_layers",
    "check_deployed_channel_layers",
    "check_draining",
    "check_runserver",
    "check_sync_threads",
]

_TAG = "channels"
_SERVERS_OF_WEBSOCKETS = ("channels", "daphne")
_LAYER_KEYS = {"BACKEND", "CONFIG", "ROUTING", "TEST_CONFIG"}
_ROUND_TRIP_TIMEOUT = 3.0  # seconds; a broker that needs longer is no broker for real time

_CHOOSE_A_BROKER = "Configure a channel layer that has a broker, such as Redis, in CHANNEL_LAYERS."


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
    """Find out whose ``runserver`` Django would run: the first installed app that has one."""
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
def check_sync_threads(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_SYNC_THREADS``."""
    try:
        thread_count()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="channels.E008")]
    return []


@register(_TAG)
def check_draining(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_DRAIN``."""
    try:
        Plan.from_settings()
    except ImproperlyConfigured as error:
        return [Error(str(error), id="channels.E007")]
    return []


@register(_TAG)
def check_channel_layers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNEL_LAYERS`` without making a layer."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    if not isinstance(layers, dict):
        return [_malformed(f"CHANNEL_LAYERS is no dict but of type {type(layers).__name__}.")]
    return [message for alias, layer in layers.items() for message in _check_layer(alias, layer)]


def _check_layer(alias: Any, layer: Any) -> Iterator[CheckMessage]:
    if not isinstance(layer, dict) or not isinstance(layer.get("BACKEND"), str):
        yield _malformed(f"Channel layer {alias!r} is no dict with a BACKEND.")
        return
    if "ROUTING" in layer:
        yield Error(
            f"Channel layer {alias!r} has ROUTING, which belongs to Channels 1.",
            hint="Remove it, and route with ASGI_APPLICATION (channels.routing).",
            id="channels.E003",
        )
    unread = sorted(str(key) for key in layer.keys() - _LAYER_KEYS)
    if unread:
        yield Warning(
            f"Channel layer {alias!r} has {', '.join(unread)}, which nobody reads.",
            hint="The arguments of the backend belong into its CONFIG.",
            id="channels.W004",
        )
    try:
        backend = import_string(layer["BACKEND"])
    except Exception as error:  # noqa: BLE001  third-party code, at import
        yield Error(
            f"BACKEND of channel layer {alias!r} cannot be imported: {_describe(error)}",
            hint="Check its spelling, and that the package it comes from is installed with what "
            "it needs.",
            id="channels.E004",
        )
        return
    for key in ("CONFIG", "TEST_CONFIG"):
        yield from _check_config(alias, backend, key, layer.get(key, {}))
    processes = _server_processes()
    if processes > 1 and _is_in_memory(layer):
        yield Warning(
            f"Channel layer {alias!r} keeps messages in memory, but WEB_CONCURRENCY asks for "
            f"{processes} server processes: most messages will not reach their recipients.",
            hint=_CHOOSE_A_BROKER,
            id="channels.W005",
        )


def _check_config(alias: Any, backend: Any, key: str, config: Any) -> Iterator[CheckMessage]:
    if not isinstance(config, dict):
        yield _malformed(f"{key} of channel layer {alias!r} is no dict.")
        return
    try:
        parameters = inspect.signature(backend)
    except (TypeError, ValueError):  # not written in Python; only making a layer would tell
        return
    try:
        parameters.bind(**config)
    except TypeError as error:
        yield Error(
            f"{key} of channel layer {alias!r} does not fit its backend: {error}.",
            hint=f"The backend takes: {', '.join(parameters.parameters) or 'nothing'}.",
            id="channels.E005",
        )
        return
    from .layers.local import LocalChannels  # noqa: PLC0415

    # Making one of these connects to nothing.
    if isinstance(backend, type) and issubclass(backend, LocalChannels):
        try:
            layer = backend(**config)
        except Exception as error:  # noqa: BLE001 - whatever is wrong with it is to be told
            yield Error(
                f"{key} of channel layer {alias!r} does not fit its backend: {error}",
                hint="The options are described in the documentation's reference of settings.",
                id="channels.E005",
            )
            return
        useless = [
            f"{name} = {getattr(layer, name)}"
            for name in ("capacity", "expiry", "group_expiry", "inbox_capacity", "lease")
            if getattr(layer, name, 1) <= 0
        ]
        if useless:
            yield Warning(
                f"Channel layer {alias!r} carries no message with {', '.join(useless)} in {key}.",
                hint="Give it more than 0.",
                id="channels.W008",
            )


def _malformed(problem: str) -> CheckMessage:
    # Without the value: it may hold the broker's password.
    return Error(
        problem,
        hint="CHANNEL_LAYERS = {'default': {'BACKEND': 'dotted.path.of.Layer', 'CONFIG': {...}}}",
        id="channels.E002",
    )


@register(_TAG, deploy=True)
def check_deployed_channel_layers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Send a message through every layer that has a broker, and mention those that have none."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    if not isinstance(layers, dict):
        return []
    return [message for alias, layer in layers.items() for message in _check_deployed(alias, layer)]


def _check_deployed(alias: Any, layer: Any) -> Iterator[CheckMessage]:
    reported = list(_check_layer(alias, layer))
    if any(message.is_serious() for message in reported):
        return  # it cannot be made
    if not _is_in_memory(layer):
        yield from _check_round_trip(alias)
    elif not any(message.id == "channels.W005" for message in reported):
        yield Warning(
            f"Channel layer {alias!r} keeps messages in memory: they reach consumers in the same "
            "process only, so neither a second server process nor a worker or command can take "
            "part.",
            hint=f"{_CHOOSE_A_BROKER} If there is exactly one process, silence this check.",
            id="channels.W006",
        )


def _check_round_trip(alias: str) -> Iterator[CheckMessage]:
    from .layers import channel_layers  # noqa: PLC0415

    try:
        async_to_sync(_round_trip)(channel_layers.make_backend(alias))
    except Exception as error:  # noqa: BLE001  whatever it is, consumers would meet it too
        yield Error(
            f"Channel layer {alias!r} does not carry messages: {_describe(error)}",
            hint="Check that its broker is running, and that CONFIG has the right address and "
            "credentials.",
            id="channels.E006",
        )


async def _round_trip(layer: Any) -> None:
    """Send one message to a channel of our own, and wait for it."""
    try:
        async with asyncio.timeout(_ROUND_TRIP_TIMEOUT) as deadline:
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "channels.check"})
            await layer.receive(channel)
    except TimeoutError as error:
        if deadline.expired():
            limit = f"no message came back within {_ROUND_TRIP_TIMEOUT:g} seconds"
            raise TimeoutError(limit) from error
        raise
    finally:
        await _close(layer)


async def _close(layer: Any) -> None:
    """Close its connections, under either of the names that layers have for it, if they have one.

    How that goes is no part of what is checked, and must not hide it.
    """
    close = getattr(layer, "close", None) or getattr(layer, "close_pools", None)
    if close is not None:
        with suppress(Exception):
            await asyncio.wait_for(close(), _ROUND_TRIP_TIMEOUT)


def _is_in_memory(layer: dict[str, Any]) -> bool:
    from .layers import InMemoryChannelLayer  # noqa: PLC0415

    backend = import_string(layer["BACKEND"])
    return isinstance(backend, type) and issubclass(backend, InMemoryChannelLayer)


def _server_processes() -> int:
    """How many processes uvicorn and Gunicorn start, as far as the environment tells."""
    try:
        return int(os.environ.get("WEB_CONCURRENCY", ""))
    except ValueError:
        return 1


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

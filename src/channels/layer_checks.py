"""System checks of the setting ``CHANNEL_LAYERS``; ``checks`` says what each number means.

The options of a layer are checked by its backend. No check raises, however broken the settings
are: it reports. Only those of ``check --deploy`` connect to a broker.
"""

import asyncio
import os
from collections.abc import Iterator
from contextlib import suppress
from typing import Any

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.utils.module_loading import import_string

from .signals import broker_lost

__all__ = ["check_channel_layers", "check_deployed_channel_layers"]

_TAG = "channels"
_LAYER_KEYS = {"BACKEND", "CONFIG", "ROUTING", "TEST_CONFIG"}
_ROUND_TRIP_TIMEOUT = 3.0  # seconds; a broker that needs longer is no broker for real time
_CLOSING_TIMEOUT = 6.0  # seconds; a layer whose broker is away needs some

_CHOOSE_A_BROKER = "Configure a channel layer that has a broker, such as Redis, in CHANNEL_LAYERS."


@register(_TAG)
def check_channel_layers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Check ``CHANNEL_LAYERS`` without connecting to anything."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    if not isinstance(layers, dict):
        return [_malformed(f"CHANNEL_LAYERS is no dict but of type {type(layers).__name__}.")]
    return [message for alias, layer in layers.items() for message in _check_layer(alias, layer)]


def _check_layer(alias: Any, layer: Any) -> Iterator[CheckMessage]:
    from .layers.third_party import supports_processes  # noqa: PLC0415

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
    if processes > 1 and not supports_processes(backend):
        yield Warning(
            f"Channel layer {alias!r} keeps messages in memory, but WEB_CONCURRENCY asks for "
            f"{processes} server processes: most messages will not reach their recipients.",
            hint=_CHOOSE_A_BROKER,
            id="channels.W005",
        )


def _check_config(alias: Any, backend: Any, key: str, config: Any) -> list[CheckMessage]:
    if not isinstance(config, dict):
        return [_malformed(f"{key} of channel layer {alias!r} is no dict.")]
    from .layers.option_checks import Options  # noqa: PLC0415
    from .layers.third_party import check_options  # noqa: PLC0415

    return check_options(backend, Options(alias, key, config))


def _malformed(problem: str) -> CheckMessage:
    # Without the value: it may hold the broker's password.
    return Error(
        problem,
        hint="CHANNEL_LAYERS = {'default': {'BACKEND': 'dotted.path.of.Layer', 'CONFIG': {...}}}",
        id="channels.E002",
    )


@register(_TAG, deploy=True)
def check_deployed_channel_layers(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Send a message through every layer that has a broker, and warn of layers that have none."""
    layers = getattr(settings, "CHANNEL_LAYERS", {})
    if not isinstance(layers, dict):
        return []
    return [message for alias, layer in layers.items() for message in _check_deployed(alias, layer)]


def _check_deployed(alias: Any, layer: Any) -> Iterator[CheckMessage]:
    from .layers.third_party import supports_processes  # noqa: PLC0415

    reported = list(_check_layer(alias, layer))
    if any(message.is_serious() for message in reported):
        return  # it cannot be made
    if supports_processes(import_string(layer["BACKEND"])):
        yield from _check_round_trip(alias)
    elif not any(message.id == "channels.W005" for message in reported):
        yield Warning(
            f"Channel layer {alias!r} keeps messages in memory: they reach consumers in the same "
            "process only, so neither a second server process nor a worker or command can take "
            "part, nor a process that serves WSGI, which has no consumers.",
            hint=f"{_CHOOSE_A_BROKER} If there is exactly one process, silence this check.",
            id="channels.W006",
        )


def _check_round_trip(alias: str) -> Iterator[CheckMessage]:
    from .layers import channel_layers  # noqa: PLC0415
    from .layers.option_checks import without_secrets  # noqa: PLC0415

    try:
        layer = channel_layers.make_backend(alias)
        async_to_sync(_round_trip)(layer)
    except Exception as error:  # noqa: BLE001  whatever it is, consumers would meet it too
        reason = without_secrets(_describe(error), settings.CHANNEL_LAYERS[alias])
        yield Error(
            f"Channel layer {alias!r} does not carry messages: {reason}",
            hint="Check that its broker is running, and that CONFIG has the right address and "
            "credentials.",
            id="channels.E006",
        )
    else:
        yield from async_to_sync(_check_broker)(layer, alias)


async def _round_trip(layer: Any) -> None:
    """Send one message to a channel of our own, and wait for it."""
    from .layers.third_party import close  # noqa: PLC0415

    lost: list[str] = []

    def note(sender: Any, broker: str, exception: Exception, **others: Any) -> None:
        lost.append(f"{broker}: {str(exception) or type(exception).__name__}")

    broker_lost.connect(note)
    try:
        async with asyncio.timeout(_ROUND_TRIP_TIMEOUT) as deadline:
            channel = await layer.new_channel()
            await layer.send(channel, {"type": "channels.check"})
            await layer.receive(channel)
    except TimeoutError as error:
        if deadline.expired():
            limit = f"no message came back within {_ROUND_TRIP_TIMEOUT:g} seconds"
            raise TimeoutError("; ".join([limit, *dict.fromkeys(lost)])) from error
        raise
    finally:
        broker_lost.disconnect(note)
        # Closing is no part of the check: its failure must not hide the result.
        with suppress(Exception):
            await asyncio.wait_for(close(layer), _CLOSING_TIMEOUT)


async def _check_broker(layer: Any, alias: str) -> list[CheckMessage]:
    """What the layer finds in its broker's configuration; nothing if that cannot be told."""
    from .layers.third_party import adapt  # noqa: PLC0415

    with suppress(Exception):
        async with asyncio.timeout(_ROUND_TRIP_TIMEOUT):
            return await adapt(layer).check_broker(alias)
    return []


def _server_processes() -> int:
    """How many processes uvicorn and Gunicorn start, as far as the environment tells."""
    try:
        return int(os.environ.get("WEB_CONCURRENCY", ""))
    except ValueError:
        return 1


def _describe(error: BaseException) -> str:
    return f"{type(error).__name__}: {error}"

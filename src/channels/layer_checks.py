"""System checks of the setting ``CHANNEL_LAYERS``; what each number means says ``checks``.

No check raises, however broken the settings are: it reports. Only those of ``check --deploy``
connect to a broker.
"""

import asyncio
import inspect
import os
import re
import sys
from collections.abc import Iterator
from contextlib import suppress
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from asgiref.sync import async_to_sync
from django.conf import settings
from django.core.checks import CheckMessage, Error, Warning, register  # noqa: A004
from django.utils.module_loading import import_string

__all__ = ["check_channel_layers", "check_deployed_channel_layers"]

_TAG = "channels"
_LAYER_KEYS = {"BACKEND", "CONFIG", "ROUTING", "TEST_CONFIG"}
_ROUND_TRIP_TIMEOUT = 3.0  # seconds; a broker that needs longer is no broker for real time
_SHORT_SECRET = 8  # characters; a shorter secret may be a part of ordinary words
_CLOSING_TIMEOUT = 6.0  # seconds; a layer whose broker is away needs some

_CHOOSE_A_BROKER = "Configure a channel layer that has a broker, such as Redis, in CHANNEL_LAYERS."


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
            hint=f"{_suggest(config, parameters)}The backend takes: "
            f"{', '.join(parameters.parameters) or 'nothing'}.",
            id="channels.E005",
        )
        return
    from .layers import InMemoryChannelLayer  # noqa: PLC0415

    unused = sorted(config.keys() - parameters.parameters.keys())
    if unused and backend is InMemoryChannelLayer:
        yield Warning(
            f"{key} of channel layer {alias!r} has {', '.join(unused)}, which the in-memory layer "
            "does not use.",
            hint="Remove what belongs to another layer, and check the spelling.",
            id="channels.W004",
        )
    if not _is_one_of_ours(backend):
        return
    try:
        layer = backend(**config)  # which connects to nothing
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is to be told
        yield Error(
            f"{key} of channel layer {alias!r} does not fit its backend: "
            f"{_without_secrets(str(error), config)}",
            hint="The options are described in the documentation's reference of settings.",
            id="channels.E005",
        )
        return
    useless = [f"{name} = {value}" for name, value in _limits(layer, config) if value <= 0]
    if useless:
        yield Warning(
            f"Channel layer {alias!r} carries no message with {', '.join(useless)} in {key}.",
            hint="Give it more than 0.",
            id="channels.W008",
        )


def _is_one_of_ours(backend: Any) -> bool:
    """Whether it is, or extends, a layer of this package; those that are not imported are not."""
    from .layers.local import LocalChannels  # noqa: PLC0415

    redis = sys.modules.get("channels.layers.redis.layer")
    ours = (LocalChannels, redis.RedisLayer) if redis else (LocalChannels,)
    return isinstance(backend, type) and issubclass(backend, ours)


def _limits(layer: Any, config: dict[str, Any]) -> Iterator[tuple[str, float]]:
    """What a layer has of messages and seconds."""
    for name in ("capacity", "expiry", "group_expiry", "inbox_capacity", "lease"):
        if hasattr(layer, name):
            yield name, getattr(layer, name)
    for key, count in (config.get("channel_capacity") or {}).items():
        yield f"channel_capacity for {getattr(key, 'pattern', key)!r}", count


def _suggest(config: dict[str, Any], parameters: inspect.Signature) -> str:
    """Which options are perhaps meant by those that the backend does not take."""
    taken = parameters.parameters
    meant = {str(name): get_close_matches(str(name), taken, 1) for name in config.keys() - taken}
    found = [f"{name} perhaps means {names[0]}. " for name, names in sorted(meant.items()) if names]
    return "".join(found)


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
            "part, nor a process that serves WSGI, which has no consumers.",
            hint=f"{_CHOOSE_A_BROKER} If there is exactly one process, silence this check.",
            id="channels.W006",
        )


def _check_round_trip(alias: str) -> Iterator[CheckMessage]:
    from .layers import channel_layers  # noqa: PLC0415

    try:
        layer = channel_layers.make_backend(alias)
        async_to_sync(_round_trip)(layer)
    except Exception as error:  # noqa: BLE001  whatever it is, consumers would meet it too
        yield Error(
            f"Channel layer {alias!r} does not carry messages: "
            f"{_without_secrets(_describe(error), settings.CHANNEL_LAYERS[alias])}",
            hint="Check that its broker is running, and that CONFIG has the right address and "
            "credentials.",
            id="channels.E006",
        )
    else:
        yield from _check_eviction(alias, layer)


def _check_eviction(alias: str, layer: Any) -> Iterator[CheckMessage]:
    for address, policy in async_to_sync(_find_evicting)(layer).items():
        yield Warning(
            f"Channel layer {alias!r}: the server at {address} evicts keys when its memory is full "
            f"(maxmemory-policy is {policy}), and with them messages and members of groups.",
            hint="Set its maxmemory-policy to noeviction. Every key of a channel layer has an "
            "expiry, so the volatile policies evict it as well; a cache needs a server of its own.",
            id="channels.W010",
        )


async def _find_evicting(layer: Any) -> dict[str, str]:
    """The servers that evict keys; none if the layer is on no Redis, or they do not tell."""
    if "channels.layers.redis.layer" not in sys.modules:  # which such a layer has imported
        return {}
    from .layers.redis.connection.eviction import find_evicting  # noqa: PLC0415
    from .layers.redis.layer import RedisLayer  # noqa: PLC0415

    with suppress(Exception):
        async with asyncio.timeout(_ROUND_TRIP_TIMEOUT):
            return await find_evicting(layer.servers if isinstance(layer, RedisLayer) else ())
    return {}


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
    """Close it, under the first of the names that layers have for it, if they have one.

    How that goes is no part of what is checked, and must not hide it.
    """
    for name in ("close", "aclose", "close_pools"):
        close = getattr(layer, name, None)
        if close is not None:
            with suppress(Exception):
                await asyncio.wait_for(close(), _CLOSING_TIMEOUT)
            return


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


def _without_secrets(text: str, config: Any) -> str:
    """``text`` without the passwords in ``config``, which the errors of others may repeat.

    A secret as short as an ordinary word is hidden only where it stands alone: otherwise the
    password "key" would make the names of options unreadable, and be told by what is missing.
    """
    for secret in sorted(set(_secrets(config)), key=len, reverse=True):
        pattern = re.escape(secret)
        if len(secret) < _SHORT_SECRET:
            pattern = rf"(?<![A-Za-z_]){pattern}(?![A-Za-z_])"
        text = re.sub(pattern, "***", text)
    return text


def _secrets(value: Any, *, named: bool = False) -> Iterator[str]:
    """The texts in a setting that are secret by their name, and the passwords in URLs."""
    if isinstance(value, dict):
        for name, item in value.items():
            secret = re.search("passw|secret|token|encryption_key", str(name), re.IGNORECASE)
            yield from _secrets(item, named=named or bool(secret))
    elif isinstance(value, list | tuple | set):
        for item in value:
            yield from _secrets(item, named=named)
    elif isinstance(value, str | bytes):
        text = value.decode(errors="replace") if isinstance(value, bytes) else value
        password = re.match(r"(?s)\w+:/*[^:@]*:(.+)@", text)
        if text and named:
            yield text
        if password:
            yield from (password[1], unquote(password[1]))

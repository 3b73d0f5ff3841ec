"""What ``manage.py check`` finds in the options of a channel layer; for the ``check()`` of layers.

Nothing here raises or connects to anything, and no message shows a password.
"""

import inspect
import re
from collections.abc import Callable, Iterable, Iterator
from dataclasses import dataclass
from difflib import get_close_matches
from typing import Any
from urllib.parse import unquote

from django.core.checks import CheckMessage, Error, Warning  # noqa: A004

__all__ = ["Options", "check_signature", "check_values", "without_secrets"]

_SHORT_SECRET = 8  # characters; a shorter secret may be a part of ordinary words


@dataclass(frozen=True)
class Options:
    """What the settings give to a channel layer.

    Args:
        alias: the layer's, in ``CHANNEL_LAYERS``.
        key: where they are: ``"CONFIG"`` or ``"TEST_CONFIG"``.
        config: what is there.
    """

    alias: Any
    key: str
    config: dict[str, Any]

    def __str__(self) -> str:
        return f"{self.key} of channel layer {self.alias!r}"

    def refuse(self, reason: str, hint: str) -> Error:
        """The error that the layer does not take these options."""
        return Error(
            f"{self} does not fit its backend: {without_secrets(reason, self.config)}",
            hint=hint,
            id="channels.E005",
        )


def check_signature(backend: Callable[..., Any], options: Options) -> list[CheckMessage]:
    """Check that a layer's class, or a function that makes layers, takes these options."""
    try:
        signature = inspect.signature(backend)
    except (TypeError, ValueError):  # not written in Python; only making a layer would tell
        return []
    try:
        signature.bind(**options.config)
    except TypeError as error:
        taken = ", ".join(signature.parameters) or "nothing"
        hint = f"{_suggest(options.config, signature)}The backend takes: {taken}."
        return [options.refuse(f"{error}.", hint)]
    return []


def check_values(
    backend: Callable[..., Any], options: Options, limits: Iterable[str]
) -> list[CheckMessage]:
    """Make a layer with these options, which it refuses if they are wrong, and check its limits.

    For layers that connect to nothing when they are made.

    Args:
        backend: the layer's class.
        options: what the settings give it.
        limits: names of its attributes that must be more than 0, or the layer carries no message.
    """
    try:
        layer = backend(**options.config)
    except Exception as error:  # noqa: BLE001 - whatever is wrong with it is to be told
        hint = "The options are described in the documentation's reference of settings."
        return [options.refuse(str(error), hint)]
    values = [(name, getattr(layer, name, 1)) for name in limits]
    for key, count in (options.config.get("channel_capacity") or {}).items():
        values.append((f"channel_capacity for {getattr(key, 'pattern', key)!r}", count))
    useless = [f"{name} = {value}" for name, value in values if value <= 0]
    if not useless:
        return []
    return [
        Warning(
            f"Channel layer {options.alias!r} carries no message with {', '.join(useless)} in "
            f"{options.key}.",
            hint="Give it more than 0.",
            id="channels.W008",
        )
    ]


def _suggest(config: dict[str, Any], signature: inspect.Signature) -> str:
    """Which options are perhaps meant by those that the backend does not take."""
    taken = signature.parameters
    meant = {str(name): get_close_matches(str(name), taken, 1) for name in config.keys() - taken}
    found = [f"{name} perhaps means {names[0]}. " for name, names in sorted(meant.items()) if names]
    return "".join(found)


def without_secrets(text: str, config: Any) -> str:
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

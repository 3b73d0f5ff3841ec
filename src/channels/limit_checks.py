"""System checks of limits: the settings, and the layers by which processes share them."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, register
from django.core.exceptions import ImproperlyConfigured

from ._runtime.nesting import inside
from .application_checks import targets
from .security.limits.options import Limits
from .security.limits.project import class_limits, project, proxies

__all__ = ["check_limits", "check_shared_limits"]

_TAG = "channels"


@register(_TAG)
def check_limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Read ``CHANNELS_LIMITS`` and ``CHANNELS_TRUSTED_PROXIES``."""
    messages: list[CheckMessage] = []
    for read in (project, proxies):
        try:
            read()
        except ImproperlyConfigured as error:
            messages.append(Error(str(error), id="channels.E009"))
    return messages


@register(_TAG)
def check_shared_limits(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find limits that are to be shared through a layer which cannot do that."""
    from .layers import channel_layers  # noqa: PLC0415

    messages: dict[str, CheckMessage] = {}
    for limits, where in _all_limits():
        alias = limits.value("shared")
        if alias is None or alias in messages:
            continue
        try:
            able = getattr(channel_layers[alias], "supports_tokens", False)
        except KeyError:
            problem = f"{where} are shared through the channel layer {alias!r}, which is missing."
        except Exception:  # noqa: BLE001, S112  the checks of layers say why it cannot be made
            continue
        else:
            if able:
                continue
            problem = (
                f"{where} are shared through the channel layer {alias!r}, which keeps no token "
                "buckets (supports_tokens): each process would count by itself."
            )
        hint = (
            "Name the alias of a layer on Redis in CHANNEL_LAYERS, or leave out what says that "
            "limits are shared."
        )
        messages[alias] = Error(problem, hint=hint, id="channels.E010")
    return list(messages.values())


def _all_limits() -> Iterator[tuple[Limits, str]]:
    """Every limit that the project has, and where it has it."""
    try:
        yield project().limits, "Limits in CHANNELS_LIMITS"
    except ImproperlyConfigured:  # see check_limits()
        return
    for target in targets():
        for found in inside(target):
            cls = getattr(found, "consumer_class", None)
            if cls is not None:
                yield class_limits(cls), f"Limits of {cls.__qualname__}"

"""System checks of limits: the settings, the layers by which processes share them, and routes."""

from collections.abc import Iterator
from typing import Any

from django.core.checks import CheckMessage, Error, Tags, Warning, register  # noqa: A004
from django.core.exceptions import ImproperlyConfigured

from ._runtime.nesting import inside
from .application_checks import consumer_class, targets, ways
from .security.limits.options import Limits
from .security.limits.policy import Policy
from .security.limits.project import class_limits, project, proxies
from .security.permissions.base import entry_rule

__all__ = ["check_limits", "check_shared_limits", "check_unlimited"]

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
            lack = _lack_of(channel_layers[alias], limits)
        except KeyError:
            problem = f"{where} are shared through the channel layer {alias!r}, which is missing."
        except Exception:  # noqa: BLE001, S112  the checks of layers say why it cannot be made
            continue
        else:
            if lack is None:
                continue
            problem = (
                f"{where} are shared through the channel layer {alias!r}, which {lack}: each "
                "process would count by itself."
            )
        hint = (
            "Name the alias of a layer on Redis in CHANNEL_LAYERS, or leave out what says that "
            "limits are shared."
        )
        messages[alias] = Error(problem, hint=hint, id="channels.E010")
    return list(messages.values())


def _lack_of(layer: Any, limits: Limits) -> str | None:
    """What a layer cannot do by which these limits are to be shared, or None."""
    if not getattr(layer, "supports_tokens", False):
        return "keeps no token buckets (supports_tokens)"
    given = {name for name, value in limits.given().items() if value is not None}
    counts = any(name.startswith("connections_per_") for name in given)
    alone = not getattr(layer, "supports_processes", True)
    if counts and not alone and not getattr(layer, "supports_places", False):
        return "counts no open connections (supports_places)"
    return None


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


@register(Tags.security, deploy=True)
def check_unlimited(app_configs: Any, **kwargs: Any) -> list[CheckMessage]:
    """Find WebSockets that everybody may open, as often as they like."""
    try:
        names = [] if project().limits_anything else sorted(_unlimited())
    except ImproperlyConfigured:  # see check_limits()
        return []
    if not names:
        return []
    return [
        Warning(
            "Nothing limits how many WebSockets a client opens, nor what it sends, and everybody "
            f"may connect: {', '.join(names)}.",
            hint="Set CHANNELS_LIMITS, such as "
            '{"HANDSHAKES_PER_ADDRESS": "60/m", "MESSAGES_PER_CONNECTION": "20/s"}, or '
            "client_limits of the consumer, or put LimitMiddleware in front.",
            id="channels.W034",
        )
    ]


def _unlimited() -> set[str]:
    """The names of consumers without permissions and limits, and with no limits in front."""
    from .security.limits import LimitMiddleware  # noqa: PLC0415

    def limits(found: object) -> bool:
        return isinstance(found, LimitMiddleware) and "websocket" in found.protocols

    names: set[str] = set()
    for found, _ in ways(protocol="websocket", ends=limits):
        cls: Any = consumer_class(found)
        if (
            hasattr(cls, "websocket_connect")
            and entry_rule(cls.permissions) is None
            and not Policy("", class_limits(cls)).limits_anything
        ):
            names.add(cls.__qualname__)
    return names

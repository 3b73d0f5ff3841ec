"""The limits of the project (``CHANNELS_LIMITS``), of each consumer, and the guards they make."""

from collections.abc import Callable
from typing import Any, Generic, TypeVar
from weakref import WeakKeyDictionary

from django.conf import settings

from ..._runtime.arguments import as_scope
from ..._runtime.types import Scope
from .address import TrustedProxies
from .guard import Guard
from .keys import Keys
from .options import INHERIT, Limits, limits_from
from .policy import Policy

__all__ = [
    "POLICIES",
    "class_limits",
    "client_address",
    "guard_for",
    "handshake_timeout",
    "project",
    "proxies",
]

#: Key of a scope whose middleware leaves it to consumers to count messages: the policies.
POLICIES = "channels.limits"

# Seconds, for consumers and projects that do not say.
_HANDSHAKE_TIMEOUT = 30.0

_T = TypeVar("_T")


class _Setting(Generic[_T]):
    """A setting as it is now (tests change it), read once for each of its values."""

    def __init__(self, name: str, read: Callable[[Any], _T]) -> None:
        self._name = name
        self._read = read
        self._seen: tuple[Any, _T] | None = None

    def __call__(self) -> _T:
        value = getattr(settings, self._name, None)
        seen = self._seen
        if seen is None or seen[0] is not value:
            self._seen = seen = (value, self._read(value))
        return seen[1]


#: The policy of the setting ``CHANNELS_LIMITS``.
project = _Setting(
    "CHANNELS_LIMITS",
    lambda value: Policy("CHANNELS_LIMITS", limits_from(value, "CHANNELS_LIMITS", upper=True)),
)

#: What the setting ``CHANNELS_TRUSTED_PROXIES`` says.
proxies = _Setting("CHANNELS_TRUSTED_PROXIES", TrustedProxies.from_setting)


def client_address(scope: Scope) -> str | None:
    """The address of the client, as far as it can be known.

    Args:
        scope: of a connection or a request.

    Returns:
        An IPv4 or IPv6 address. It is the one that the server tells, or, if that is a proxy in
        ``CHANNELS_TRUSTED_PROXIES``, the one that the proxy tells. None where neither tells one, as
        with a Unix socket.

    Raises:
        InvalidArgument: it is no scope.
    """
    address = proxies().client_of(as_scope(scope))
    return None if address is None else str(address)


# By class: its ``client_limits``, and what they say.
_limits: "WeakKeyDictionary[type, tuple[Any, Limits]]" = WeakKeyDictionary()


def class_limits(cls: Any) -> Limits:
    """The limits that a consumer class has itself, read once for each value of ``client_limits``.

    Raises:
        ImproperlyConfigured: its ``client_limits`` are none.
    """
    seen, own = _limits.get(cls), cls.client_limits
    if seen is None or seen[0] is not own:
        seen = own, limits_from(own, f"client_limits of {cls.__qualname__}")
        _limits[cls] = seen
    return seen[1]


# By class: the project's policy and the class's limits of which they were made, and its policies.
_policies: "WeakKeyDictionary[type, tuple[Policy, Limits, tuple[Policy, ...]]]" = (
    WeakKeyDictionary()
)


def _policies_of(cls: Any) -> tuple[Policy, ...]:
    known, of_project, limits = _policies.get(cls), project(), class_limits(cls)
    if known is None or known[0] is not of_project or known[1] is not limits:
        found = [of_project]
        if limits.given():
            # Who shares, and what follows, is the project's to say as well.
            general = {
                name: value
                for name, value in of_project.limits.given().items()
                if name in ("over_limit", "shared")
            }
            name = f"{cls.__module__}.{cls.__qualname__}"
            found = [
                of_project.without(limits),
                Policy(name, limits.over(Limits(**general))),
            ]
        used = tuple(policy for policy in found if policy.limits_anything)
        known = _policies[cls] = of_project, limits, used
    return known[2]


def guard_for(scope: Scope, consumer: Any) -> Guard | None:
    """What holds a connection to its limits, or None where there are none.

    Args:
        scope: the connection's.
        consumer: the consumer that is to serve it.

    Raises:
        ImproperlyConfigured: the setting or the class has limits that are none.
    """
    cls = type(consumer)
    policies = _policies_of(cls)
    outer = scope.get(POLICIES)
    if outer:
        policies = (*policies, *outer)
    if not policies:
        return None
    keys = Keys(scope, proxies(), f"{cls.__module__}.{cls.__qualname__}")
    return Guard(scope, policies, keys, consumer)


def handshake_timeout(cls: Any) -> float | None:
    """Seconds within which consumers of a class are to accept or close, as the limits say."""
    for limits in (class_limits(cls), project().limits):
        if limits.handshake_timeout is not INHERIT:
            return limits.handshake_timeout
    return _HANDSHAKE_TIMEOUT

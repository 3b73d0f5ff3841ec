"""What may be limited, as projects write it, checked."""

import math
from collections.abc import Mapping
from dataclasses import dataclass, fields
from typing import Any, Literal

from django.core.exceptions import ImproperlyConfigured

from .rates import Rate, as_rate

__all__ = ["INHERIT", "Limits", "limits_from"]


class _Inherit:
    """Stands for what is not said here, so that the setting of the project counts."""

    def __repr__(self) -> str:
        return "INHERIT"


INHERIT: Any = _Inherit()


# Options that are rates begin so; the others are counts, but for those below.
_RATES = ("handshakes_per_", "messages_per_", "bytes_per_")


@dataclass(frozen=True, kw_only=True)
class Limits:
    """How much clients may do. What is left out is as the project says, and None is no limit.

    Rates are written ``"20/s"``, ``"100/m"``, ``"1000/h"``, for bytes ``"64 KiB/s"``, or as a
    :class:`Rate` with a burst of its own.

    Raises:
        ImproperlyConfigured: a value is none of these; says what to write.
    """

    #: Handshakes of WebSockets, and requests of HTTP consumers, from one client address.
    handshakes_per_address: "Rate | str | None" = INHERIT
    #: Those of one user who is signed in.
    handshakes_per_user: "Rate | str | None" = INHERIT
    #: Those to one consumer, from everybody.
    handshakes_per_consumer: "Rate | str | None" = INHERIT
    #: Connections from one client address that are open at the same time, in one process or in all
    #: that share.
    connections_per_address: int | None = INHERIT
    #: Those of one user who is signed in.
    connections_per_user: int | None = INHERIT
    #: Those to one consumer, from everybody.
    connections_per_consumer: int | None = INHERIT
    #: Messages that one WebSocket may send.
    messages_per_connection: "Rate | str | None" = INHERIT
    #: Messages of all WebSockets from one client address together.
    messages_per_address: "Rate | str | None" = INHERIT
    #: Messages of all WebSockets of one user together.
    messages_per_user: "Rate | str | None" = INHERIT
    #: Bytes of messages that one WebSocket may send.
    bytes_per_connection: "Rate | str | None" = INHERIT
    #: Bytes of messages of all WebSockets from one client address together.
    bytes_per_address: "Rate | str | None" = INHERIT
    #: Bytes of messages of all WebSockets of one user together.
    bytes_per_user: "Rate | str | None" = INHERIT
    #: Bytes of one message; a larger one closes the WebSocket with 1009.
    message_size: int | None = INHERIT
    #: Groups that one connection may be in; one more raises ``TooManyGroups``.
    groups_per_connection: int | None = INHERIT
    #: Seconds within which a WebSocket has to be accepted or closed, for consumers that do not say
    #: so themselves (:attr:`~channels.consumer.AsyncConsumer.handshake_timeout`).
    handshake_timeout: float | None = INHERIT
    #: What follows too many messages or bytes: ``"close"`` the WebSocket with 4429, or ``"wait"``,
    #: that is, read nothing more from this client until it is within its limit again.
    over_limit: Literal["close", "wait"] = INHERIT
    #: The alias of the channel layer through which all processes share what clients of one address,
    #: one user and one consumer do and have open; None counts within each process.
    shared: str | None = INHERIT

    def __post_init__(self) -> None:
        for option in fields(self):
            value = getattr(self, option.name)
            if value is not INHERIT:
                object.__setattr__(self, option.name, _checked(option.name, value))

    def given(self) -> dict[str, Any]:
        """What is said here, None included, by name."""
        found = {option.name: getattr(self, option.name) for option in fields(self)}
        return {name: value for name, value in found.items() if value is not INHERIT}

    def over(self, other: "Limits") -> "Limits":
        """These limits, and what they leave out as ``other`` has it."""
        return Limits(**{**other.given(), **self.given()})

    def value(self, name: str) -> Any:
        """One of them, or None where there is no limit."""
        value = getattr(self, name)
        return None if value is INHERIT else value


def _checked(name: str, value: Any) -> Any:
    """The value of one option in the form in which it is used."""
    if name == "over_limit":
        if value not in ("close", "wait"):
            raise ImproperlyConfigured(f'{name} must be "close" or "wait", not {value!r}.')
        return value
    if value is None:
        return None
    if name.startswith(_RATES):
        try:
            return as_rate(value)
        except ImproperlyConfigured as error:
            raise ImproperlyConfigured(f"{name}: {error}") from None
    if name == "handshake_timeout":
        if type(value) not in (int, float) or not 0 < value < math.inf:
            raise ImproperlyConfigured(
                f"{name} must be seconds, more than 0, or None for no limit; not {value!r}."
            )
        return float(value)
    if name == "shared":
        if not isinstance(value, str) or not value:
            raise ImproperlyConfigured(
                f'{name} must be the alias of a channel layer, such as "default", or None; not '
                f"{value!r}."
            )
        return value
    if type(value) is not int or value < 1:
        raise ImproperlyConfigured(
            f"{name} must be a whole number of 1 or more, or None for no limit; not {value!r}."
        )
    return value


def limits_from(value: object, what: str, *, upper: bool = False) -> Limits:
    """The limits that a project has written as a dict, or as :class:`Limits`.

    Args:
        value: what it has written; None is nothing.
        what: where, for the error.
        upper: whether the keys are in upper case, as those of settings are.

    Raises:
        ImproperlyConfigured: that is no such dict, or has a key or a value that means nothing.
    """
    if value is None:
        return Limits()
    if isinstance(value, Limits):
        return value
    names = [option.name.upper() if upper else option.name for option in fields(Limits)]
    example = '{"MESSAGES_PER_CONNECTION": "20/s"}' if upper else "Limits(message_size=65536)"
    if not isinstance(value, Mapping):
        raise ImproperlyConfigured(f"{what} must be limits such as {example}, not {value!r}.")
    unknown = [repr(key) for key in value if key not in names]
    if unknown:
        raise ImproperlyConfigured(
            f"{what} has {', '.join(unknown)}, which is no limit. There are: {', '.join(names)}."
        )
    try:
        return Limits(**{key.lower(): entry for key, entry in value.items()})
    except ImproperlyConfigured as error:
        raise ImproperlyConfigured(f"{what}: {error}") from None

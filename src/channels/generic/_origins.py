"""Which web pages may read what a consumer sends over HTTP."""

from collections.abc import Iterable

from .._runtime.types import Scope
from ..security.websocket import (
    AllowedHostsOriginValidator,
    OriginPattern,
    OriginValidator,
    WebsocketDenier,
)

__all__ = ["cross_origin_headers", "origin_refusal", "origin_validator"]


def origin_validator(allowed: Iterable[OriginPattern] | None) -> OriginValidator:
    """The rule for origins: those that are allowed, or None for the hosts of ``ALLOWED_HOSTS``."""
    if allowed is None:
        return AllowedHostsOriginValidator(WebsocketDenier())
    return OriginValidator(WebsocketDenier(), allowed)


def origin_refusal(validator: OriginValidator, scope: Scope) -> str | None:
    """Why a page may not make this request; None if it may.

    Browsers tell the origin of a GET request only if it is another one. Where they do not,
    ``Sec-Fetch-Site`` tells of requests by other sites (Fetch Metadata Request Headers, section
    2.3), which cannot read the response but may make the consumer do something.
    """
    if _values(scope, b"origin"):
        return validator.refusal(scope)
    if _values(scope, b"sec-fetch-site") == [b"cross-site"]:
        return "a page of another site asks for it, without CORS"
    return None


def cross_origin_headers(scope: Scope) -> list[tuple[bytes, bytes]]:
    """What lets the page read the response, once its origin was found to be allowed (CORS)."""
    return [
        header
        for origin in _values(scope, b"origin")
        for header in (
            (b"access-control-allow-origin", origin),
            (b"access-control-allow-credentials", b"true"),
            (b"vary", b"Origin"),
        )
    ]


def _values(scope: Scope, name: bytes) -> list[bytes]:
    return [value for key, value in scope.get("headers", ()) if key.lower() == name]

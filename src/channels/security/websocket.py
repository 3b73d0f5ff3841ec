"""Which web pages may open a WebSocket here.

Browsers let any page connect to any server and send the visitor's cookies along, and tell in the
``Origin`` header which page it is. Without a check of it, a foreign page acts as the visitor
(RFC 6455, section 10.2).
"""

import re
from collections.abc import Iterable
from functools import lru_cache
from typing import Any, NamedTuple, TypeAlias
from urllib.parse import ParseResult, urlparse

from django.conf import settings
from django.core.exceptions import ImproperlyConfigured
from django.utils.http import is_same_domain

from .._runtime.denial import deny
from .._runtime.logtext import printable
from .._runtime.types import ASGIApplication, Receive, Scope, Send

__all__ = ["AllowedHostsOriginValidator", "OriginValidator", "WebsocketDenier"]

OriginPattern: TypeAlias = str | re.Pattern[str]

_DEFAULT_PORTS = {"http": 80, "ws": 80, "https": 443, "wss": 443}

# What Django takes for an empty ALLOWED_HOSTS while DEBUG is on (its documentation).
_LOCAL_HOSTS = [".localhost", "127.0.0.1", "[::1]"]

_SHOWN_PATTERNS = 10  # in a log line


class OriginValidator:
    """Refuses WebSockets (403) that come from any but the allowed origins.

    Args:
        application: what to run when the origin is allowed.
        allowed_origins: each of them one of

            - a host, ``"example.com"``, with any scheme and port, or ``"example.com:8000"``;
            - ``".example.com"``: the host and all below it, in every form;
            - ``"https://example.com:8443"``: scheme, host and port, where the port may be left
              out if it is the scheme's own;
            - a compiled regular expression, matched at the start of the whole origin
              (``re.Pattern.match``). Escape its dots and end it with ``$``, or it also matches
              ``https://example.com.attacker.net``;
            - ``"*"``: everybody, also clients that send no origin.

    Raises:
        ImproperlyConfigured: at construction, when ``allowed_origins`` is not a list of these.
        ValueError: when called for anything but a WebSocket.

    """

    remedy = "allow it in the allowed_origins of OriginValidator"

    def __init__(
        self, application: ASGIApplication, allowed_origins: Iterable[OriginPattern]
    ) -> None:
        wrong: Any = allowed_origins  # whatever it is
        if isinstance(wrong, str | bytes) or not isinstance(wrong, Iterable):
            raise ImproperlyConfigured(
                f"allowed_origins must be a list of origins, not {allowed_origins!r}."
            )
        self.application = application
        self.allowed_origins = list(allowed_origins)
        for pattern in self.allowed_origins:
            if isinstance(pattern, str):
                _parse_pattern(pattern)
            elif not isinstance(pattern, re.Pattern):
                raise ImproperlyConfigured(
                    f"An allowed origin is a string or a compiled regular expression, not "
                    f"{pattern!r}."
                )

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application if the origin is allowed, else refuse and log why."""
        if scope["type"] != "websocket":
            raise ValueError(
                f"{type(self).__name__} is for WebSocket connections; it got {scope['type']!r}."
            )
        reason = self.refusal(scope)
        if reason is None:
            return await self.application(scope, receive, send)
        return await deny(scope, send, status=403, reason=reason, sender=type(self))

    def refusal(self, scope: Scope) -> str | None:
        """Why the connection is refused, for the log; None if it may proceed."""
        values = [value for name, value in scope.get("headers", ()) if name == b"origin"]
        origin = _parse_origin(values[0]) if len(values) == 1 else None
        if self.valid_origin(origin):
            return None
        reason = f"{_problem(values, origin)}; {self._allowed()}"
        return reason if origin is None else f"{reason}; {self.remedy}"

    def valid_origin(self, parsed_origin: ParseResult | None) -> bool:
        """Whether a connection from here may proceed.

        ``parsed_origin`` is None when the client sent no origin, several, or one that is none.
        """
        if parsed_origin is None:
            return "*" in self.allowed_origins
        return self.validate_origin(parsed_origin)

    def validate_origin(self, parsed_origin: ParseResult) -> bool:
        """Whether one of the allowed origins matches."""
        return any(
            pattern == "*" or self.match_allowed_origin(parsed_origin, pattern)
            for pattern in self.allowed_origins
        )

    def match_allowed_origin(self, parsed_origin: ParseResult, pattern: OriginPattern) -> bool:
        """Whether this allowed origin matches."""
        if isinstance(pattern, re.Pattern):
            return pattern.match(parsed_origin.geturl()) is not None
        allowed = _parse_pattern(pattern)
        if not allowed.host or not parsed_origin.hostname:
            return False
        return (
            is_same_domain(parsed_origin.hostname.removesuffix("."), allowed.host)
            and allowed.scheme in {"", parsed_origin.scheme}
            and (allowed.any_port or allowed.port == self.get_origin_port(parsed_origin))
        )

    def get_origin_port(self, origin: ParseResult) -> int | None:
        """The port, given or implied by the scheme; None if neither tells."""
        return origin.port if origin.port is not None else _DEFAULT_PORTS.get(origin.scheme)

    def _allowed(self) -> str:
        shown = [
            pattern.pattern if isinstance(pattern, re.Pattern) else str(pattern)
            for pattern in self.allowed_origins[:_SHOWN_PATTERNS]
        ]
        more = len(self.allowed_origins) - len(shown)
        return f"allowed: {', '.join(shown) or 'none'}{f' and {more} more' if more else ''}"


class AllowedHostsOriginValidator(OriginValidator):
    """Refuses WebSockets (403) whose origin's host is not in ``settings.ALLOWED_HOSTS``.

    As in Django, an empty list means the local hosts while ``DEBUG`` is on. If that is so when the
    validator is made they stay allowed, also in tests, where Django changes both settings.

    Args:
        application: what to run when the origin is allowed.

    """

    remedy = "allow its host in the setting ALLOWED_HOSTS"

    def __init__(self, application: ASGIApplication) -> None:
        self._local = [] if settings.ALLOWED_HOSTS or not settings.DEBUG else _LOCAL_HOSTS
        super().__init__(application, _allowed_hosts())

    def refusal(self, scope: Scope) -> str | None:
        """Go by the setting as it is now, as Django does: tests change it."""
        self.allowed_origins = [*_allowed_hosts(), *self._local]
        return super().refusal(scope)


def _allowed_hosts() -> list[OriginPattern]:
    return list(settings.ALLOWED_HOSTS or (_LOCAL_HOSTS if settings.DEBUG else ()))


class WebsocketDenier:
    """An application that refuses every WebSocket (403)."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Refuse this one."""
        await deny(scope, send, status=403, reason="nobody may connect here", sender=type(self))

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ASGIApplication:
        """The application, to be routed to like a consumer's."""
        return cls(**initkwargs)


class _Pattern(NamedTuple):
    scheme: str  # empty for any
    host: str  # may start with a dot; empty for none
    port: int | None
    any_port: bool


@lru_cache(maxsize=1024)
def _parse_pattern(pattern: str) -> _Pattern:
    """Take an allowed origin apart, once per text."""
    text = pattern.strip().lower()
    with_scheme = "://" in text
    if text.count(":") > 1 and "[" not in text and not with_scheme:
        text = f"[{text}]"  # a bare IPv6 address
    try:
        parsed = urlparse(text if with_scheme else f"//{text}")
        host = (parsed.hostname or "").removesuffix(".")
        port = parsed.port
    except ValueError as error:
        if with_scheme:
            raise ImproperlyConfigured(
                f"The allowed origin {pattern!r} is none: {error}"
            ) from error
        # ALLOWED_HOSTS may hold such an entry; it matches nothing in Django either.
        return _Pattern("", "", None, any_port=True)
    any_port = port is None and not with_scheme
    if port is None:
        port = _DEFAULT_PORTS.get(parsed.scheme)
    return _Pattern(parsed.scheme, host, port, any_port)


def _parse_origin(value: bytes) -> ParseResult | None:
    """The client's origin, or None if it cannot be one (RFC 6454, section 7).

    ``urlparse`` forgives much, such as line breaks within a host, that no browser sends.
    """
    try:
        text = value.decode("ascii")
        parsed = urlparse(text)
        parsed.port  # noqa: B018  raises ValueError for rubbish
    except ValueError:
        return None
    if not (parsed.scheme or text == "null"):  # "null" is the origin of sandboxed pages
        return None
    usable = text.isprintable() and not any(character in text for character in " @\\,")
    return parsed if usable else None


def _problem(values: list[bytes], origin: ParseResult | None) -> str:
    if not values:
        return "no Origin header"
    if len(values) > 1:
        return f"{len(values)} Origin headers"
    shown = printable(values[0].decode("latin1"))
    return f"the Origin {shown!r} is not allowed" if origin else f"unusable Origin {shown!r}"

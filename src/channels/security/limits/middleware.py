"""Limits around an application: what is refused here costs neither a session nor a query."""

from collections.abc import Collection
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from ..._runtime.arguments import as_text
from ..._runtime.scopes import from_server
from ..._runtime.types import ASGIApplication, Receive, Scope, Send
from ...middleware import BaseMiddleware
from .guard import Guard
from .keys import Keys
from .options import INHERIT, Limits
from .policy import Policy
from .project import POLICIES, proxies

__all__ = ["LimitMiddleware"]

_PROTOCOLS = ("http", "websocket")


class LimitMiddleware(BaseMiddleware):
    """Holds the clients of an application to limits.

    Put it outermost, so that a client that is refused costs nothing more. Handshakes and
    connections are counted here, and messages by the consumers inside. A user is known only inside
    of what authenticates: limits for each user count if this middleware is there.

    Args:
        inner: the application.
        limits: the limits, in place of keyword arguments.
        name: what these limits are called in the log, and at the broker if they are shared. Several
            middlewares of a project that share through one layer need names of their own.
        protocols: of which scopes: ``"websocket"``, ``"http"``.
        **given: the limits; see :class:`Limits`.

    Raises:
        ImproperlyConfigured: at construction, if one of the arguments is not valid.
    """

    def __init__(
        self,
        inner: ASGIApplication,
        limits: Limits | None = None,
        *,
        name: str = "LimitMiddleware",
        protocols: Collection[str] = ("websocket",),
        **given: Any,
    ) -> None:
        super().__init__(inner)
        wrong: Any = protocols  # whatever it is
        if (
            isinstance(wrong, str)
            or not isinstance(wrong, Collection)
            or set(wrong) - {*_PROTOCOLS}
        ):
            raise ImproperlyConfigured(
                f"protocols of LimitMiddleware must be some of {_PROTOCOLS}, not {protocols!r}."
            )
        if limits is not None and not isinstance(limits, Limits):
            raise ImproperlyConfigured(
                "limits of LimitMiddleware must be Limits(...), or be left out and written one by "
                f"one, as keyword arguments; not {limits!r}."
            )
        if limits is not None and given:
            raise ImproperlyConfigured(
                "LimitMiddleware takes limits=Limits(...) or the limits one by one, not both."
            )
        as_text("name", name, '"LimitMiddleware"', ImproperlyConfigured)
        self.protocols = frozenset(protocols)
        self.policy = Policy(name, limits_of(limits, given))
        self._inside = self.policy.inside()

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Run the application, or refuse the client with 429."""
        if scope["type"] not in self.protocols or not from_server(scope):
            return await self.inner(scope, receive, send)
        keys = Keys(scope, proxies(), self.policy.name)
        guard = Guard(scope, (self.policy,), keys)
        if not await guard.admits(receive, send, type(self)):
            return None
        inside = {**scope, POLICIES: (*scope.get(POLICIES, ()), self._inside)}
        try:
            return await self.inner(inside, receive, send)
        finally:
            guard.release()


def limits_of(limits: Limits | None, given: dict[str, Any]) -> Limits:
    """The limits that a middleware was given in one of the two ways."""
    if limits is None:
        try:
            limits = Limits(**given)
        except TypeError:
            raise ImproperlyConfigured(
                f"LimitMiddleware has no limit called {', '.join(sorted(given))}; see Limits."
            ) from None
    if limits.handshake_timeout is not INHERIT:
        raise ImproperlyConfigured(
            "LimitMiddleware has no handshake_timeout: it is an attribute of consumers, and "
            "HANDSHAKE_TIMEOUT in the setting CHANNELS_LIMITS."
        )
    return limits

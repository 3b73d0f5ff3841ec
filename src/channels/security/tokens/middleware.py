"""Finds the user of a connection by a token."""

from collections.abc import Callable, Iterable
from http import HTTPStatus
from typing import Any, NamedTuple

from asgiref.sync import iscoroutinefunction
from django.core.exceptions import ImproperlyConfigured

from ..._runtime.arguments import as_scope, as_text
from ..._runtime.denial import deny
from ..._runtime.scopes import CHALLENGE, CREDENTIAL
from ..._runtime.types import ASGIApplication, Message, Receive, Scope, Send
from ...auth import UserLazyObject, _anonymous
from ...close_codes import CloseCode
from ...exceptions import ScopeError, TokenRefused, VerifierUnavailable
from ...middleware import BaseMiddleware
from .base import Identity, Verifier
from .reading import SUBPROTOCOL, Presented, take
from .verifying import Outcome, TokenCredential, install, verify

__all__ = ["TokenAuthMiddleware", "refresh_token"]

_CHALLENGE = b"Bearer"

# Why nobody comes in whose token is taken before it gets to the verifiers that are to see it.
_TAKEN = (
    "a TokenAuthMiddleware further out has taken its token, by a verifier that the one further in "
    "does not have; give it the same verifiers, or put neither inside the other"
)


class _Refusal(NamedTuple):
    status: HTTPStatus
    reason: Exception
    error: bytes = b""  # of RFC 6750, section 3.1
    code: CloseCode = CloseCode.UNAUTHORIZED


class TokenAuthMiddleware(BaseMiddleware):
    """Puts the user whose token a client presents into ``scope["user"]``.

    The token is in the header ``Authorization: Bearer ...``, or among the subprotocols after
    ``channels.bearer``; a ticket, which is good only once, may be in the query string. What it says
    is in ``scope["token"]``, an :class:`Identity`, or None without one. The token itself is nowhere
    in the inner application's scope.

    A client whose token is refused gets 401. Without one it is anonymous, or whoever an
    ``AuthMiddlewareStack``, outside or inside, finds by its session. When the token expires, the
    connection ends: a WebSocket with the code 4419. Before that, a client may send a newer one.

    Inside another one, which takes the token, the verifiers are not asked: ``required`` then lets
    those in whose token was accepted there by a verifier that this middleware has as well.

    Args:
        inner: the application to wrap.
        verifiers: the verifier, or several, which are asked in this order.
        required: whether to refuse clients without a token too.
        refuse_by_close: accept a WebSocket that is refused, and close it with 4401 or 4419, which
            pages can see. They cannot see the status of a handshake.
        query_parameter: where in the query string tickets are; None for nowhere.

    Raises:
        ImproperlyConfigured: at construction, when ``verifiers`` are none, or ``query_parameter``
            is no text.
    """

    def __init__(
        self,
        inner: ASGIApplication,
        verifiers: "Verifier | Iterable[Verifier]",
        *,
        required: bool = False,
        refuse_by_close: bool = False,
        query_parameter: str | None = "ticket",
    ) -> None:
        super().__init__(inner)
        several = (verifiers,) if callable(getattr(verifiers, "verify", None)) else verifiers
        self.verifiers: tuple[Verifier, ...] = _checked(several)
        if query_parameter is not None:
            as_text("query_parameter", query_parameter, '"ticket"', ImproperlyConfigured)
        self.required = required
        self.refuse_by_close = refuse_by_close
        self._one_time = [it for it in self.verifiers if getattr(it, "one_time", False)]
        self._parameter = query_parameter if self._one_time else None
        self._schemes = {
            scheme.lower().encode()
            for verifier in self.verifiers
            for scheme in getattr(verifier, "schemes", ("Bearer",))
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application with the user in its scope, or refuse the client."""
        if scope["type"] not in {"websocket", "http"}:
            return await self.inner(dict(scope), receive, send)
        presented = take(scope, self._schemes, self._parameter)
        scope = presented.scope
        outcome = await self._judge(presented, scope.get(CREDENTIAL))
        marked = presented.by_subprotocol
        del presented  # nothing here is to keep a token for as long as the connection lasts
        if isinstance(outcome, _Refusal):
            await self._refuse(scope, receive, send, outcome, marked)
            return None
        scope[CHALLENGE] = _CHALLENGE
        if outcome is not None:
            scope[CREDENTIAL] = TokenCredential(outcome, self.verifiers)
            install(scope, outcome)
        else:
            scope.setdefault("token", None)
            if "user" not in scope:
                # An AuthMiddleware further in may still find somebody, by a session.
                scope["user"] = UserLazyObject()
                scope["user"]._wrapped = _anonymous()
        running = self.inner(scope, receive, _selecting(send) if marked else send)
        del scope, outcome
        return await running

    async def _judge(
        self, presented: Presented, outer: TokenCredential | None
    ) -> Identity | _Refusal | None:
        """Whose token it is; None if there is none, or a middleware further out has taken it."""
        tokens = presented.tokens
        if not tokens:
            if not self.required or (outer is not None and outer.is_of(self.verifiers)):
                return None
            reason = "it has no token" if outer is None else _TAKEN
            return _Refusal(HTTPStatus.UNAUTHORIZED, TokenRefused(reason))
        if len(tokens) > 1:
            several = TokenRefused("it has several tokens")
            return _Refusal(HTTPStatus.BAD_REQUEST, several, b"invalid_request")
        ((token, in_query),) = tokens
        return _refusal_of(await verify(self._one_time if in_query else self.verifiers, token))

    async def _refuse(
        self, scope: Scope, receive: Receive, send: Send, refusal: _Refusal, marked: bool
    ) -> None:
        by_close = self.refuse_by_close and scope["type"] == "websocket"
        if by_close:
            await receive()  # the client's handshake
            if marked:
                scope["subprotocols"] = [SUBPROTOCOL]
        headers = []
        if refusal.status < 500:
            error = b' error="' + refusal.error + b'"' if refusal.error else b""
            headers.append((b"www-authenticate", _CHALLENGE + error))
        await deny(
            scope,
            send,
            status=refusal.status,
            reason=str(refusal.reason),
            sender=type(self),
            headers=headers,
            close_code=refusal.code if by_close else None,
        )


def _checked(verifiers: Any) -> tuple[Verifier, ...]:
    try:
        found = tuple(verifiers)
    except TypeError:
        found = ()
    if not found or not all(iscoroutinefunction(getattr(it, "verify", None)) for it in found):
        raise ImproperlyConfigured(
            "TokenAuthMiddleware needs verifiers, such as SignedTokenVerifier(), which have a "
            f"coroutine method verify(); it was given {verifiers!r}."
        )
    return found


def _refusal_of(outcome: Outcome) -> Identity | _Refusal:
    if isinstance(outcome, TokenRefused):
        code = CloseCode.EXPIRED if outcome.expired else CloseCode.UNAUTHORIZED
        return _Refusal(HTTPStatus.UNAUTHORIZED, outcome, b"invalid_token", code)
    if isinstance(outcome, VerifierUnavailable):
        status = HTTPStatus.SERVICE_UNAVAILABLE
        return _Refusal(status, outcome, code=CloseCode.OVERLOADED)
    return outcome


def _selecting(send: Send) -> Callable[[Message], Any]:
    """``send`` for a page that offers a token: it fails where no subprotocol is selected."""

    async def select(message: Message) -> None:
        if message["type"] == "websocket.accept" and message.get("subprotocol") is None:
            message = {**message, "subprotocol": SUBPROTOCOL}
        await send(message)

    return select


async def refresh_token(scope: Scope, token: str) -> Identity:
    """Let a connection last as long as a newer token of its user.

    Clients can do that without the consumer, with ``{"type": "channels.token", "token": ...}``.
    This is for a consumer that gets tokens in another way. What is in ``scope["user"]`` and
    ``scope["token"]`` is the newer token's then.

    Args:
        scope: the consumer's.
        token: the newer token.

    Raises:
        TokenRefused: it is not good, or another user's.
        VerifierUnavailable: that cannot be found out now.
        ScopeError: the connection did not begin with a token.
        InvalidArgument: an argument is not what it should be.
    """
    as_text("token", token, "what the client has sent as its newer token")
    credential = as_scope(scope).get(CREDENTIAL)
    if credential is None:
        raise ScopeError(
            "There is no token to refresh: the connection is not inside TokenAuthMiddleware, or "
            "has begun without a token."
        )
    await credential.refresh(scope, token)
    identity: Identity = scope["token"]
    return identity

"""Tickets: fetched over HTTP by somebody who is signed in, good once and for a short time.

A page can set no header of a WebSocket or an ``EventSource``, so what it has must travel in the
URL, which servers write into their access logs. A ticket may: who reads it there comes too late.

What a ticket stands for is kept in a cache of Django, under the ticket's digest, and is deleted by
the one connection that uses it.
"""

import hashlib
import secrets
import time
from dataclasses import dataclass
from importlib import import_module
from typing import Any

from django.conf import settings
from django.contrib.auth import SESSION_KEY
from django.core.cache import caches
from django.core.exceptions import ImproperlyConfigured
from django.http import HttpRequest, HttpResponse, JsonResponse
from django.utils.decorators import method_decorator
from django.views import View
from django.views.decorators.cache import never_cache
from django.views.decorators.csrf import csrf_protect

from ..._runtime.arguments import as_moment, as_text
from ...auth import load_user
from ...db import database_sync_to_async
from ...exceptions import TokenRefused
from .base import Identity
from .users import fingerprint, key_of, user_by, verify_fingerprint

__all__ = ["TicketPlan", "TicketVerifier", "TicketView", "make_ticket"]

_PREFIX = "ticket_"
_GONE = "the ticket was used, has expired, or never was one"


@dataclass(frozen=True)
class TicketPlan:
    """The setting ``CHANNELS_TICKETS``.

    Attributes:
        cache: the alias of the cache where tickets are kept.
        lifetime: seconds for which a ticket is good.
    """

    cache: str = "default"
    lifetime: float = 30.0

    @classmethod
    def from_settings(cls) -> "TicketPlan":
        """As configured.

        Raises:
            ImproperlyConfigured: the setting is none.
        """
        setting = getattr(settings, "CHANNELS_TICKETS", {})
        if not isinstance(setting, dict) or set(setting) - {"CACHE", "LIFETIME"}:
            raise ImproperlyConfigured(
                f"CHANNELS_TICKETS must be a dict with the keys CACHE and LIFETIME; it is "
                f"{setting!r}."
            )
        cache, lifetime = setting.get("CACHE", cls.cache), setting.get("LIFETIME", cls.lifetime)
        if cache not in settings.CACHES:
            raise ImproperlyConfigured(
                f"CHANNELS_TICKETS['CACHE'] must be an alias of the setting CACHES, not {cache!r}."
            )
        if isinstance(lifetime, bool) or not isinstance(lifetime, int | float) or lifetime <= 0:
            raise ImproperlyConfigured(
                "CHANNELS_TICKETS['LIFETIME'] must be a number of seconds above 0, not "
                f"{lifetime!r}."
            )
        return cls(cache, float(lifetime))


def make_ticket(
    user: Any,
    *,
    session_key: str | None = None,
    expires_at: float | None = None,
    token_id: str | None = None,
) -> str:
    """A ticket for ``user``. Asks the cache.

    Args:
        user: a user with a primary key.
        session_key: of the Django session that has signed the user in, if one has. What ends the
            session then ends the connection.
        expires_at: when the connection is to end, in seconds since the epoch; None for never.
        token_id: of the token that has signed the user in, if one has: whatever revokes that ends
            the connection.

    Raises:
        InvalidArgument: one of these is not what it should be; says what to write.
    """
    key = key_of(user)
    if session_key is not None:
        as_text("session_key", session_key, "request.session.session_key")
    if expires_at is not None:
        expires_at = as_moment("expires_at", expires_at, is_to_come=True)
    if token_id is not None:
        as_text("token_id", token_id, "the jti of a JSON Web Token")
    plan = TicketPlan.from_settings()
    ticket = _PREFIX + secrets.token_urlsafe(32)
    record = {
        "user": key,
        "password": fingerprint(user),
        "session": session_key,
        "connection": expires_at,
        "token": token_id,
        "until": time.time() + plan.lifetime,
    }
    # Caches count whole seconds; the ticket's own time is in the record.
    caches[plan.cache].set(_key(ticket), record, timeout=int(plan.lifetime) + 1)
    return ticket


def _key(ticket: str) -> str:
    return f"channels.ticket.{hashlib.sha256(ticket.encode()).hexdigest()}"


class TicketVerifier:
    """Verifies what :func:`make_ticket` has made."""

    #: A ticket may travel in the query string.
    one_time = True

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    async def verify(self, token: str) -> Identity | None:
        """Whose ticket it is; None if it is none. From now on it is good for nobody.

        Raises:
            TokenRefused: it was used, has expired, or its user or session is gone.
        """
        if not token.startswith(_PREFIX):
            return None
        return await self._redeem(_key(token))

    @database_sync_to_async
    def _redeem(self, key: str) -> Identity:
        cache = caches[TicketPlan.from_settings().cache]
        record = cache.get(key)
        # Of several that have read it, the cache tells one that it has deleted it.
        if record is None or not cache.delete(key) or record["until"] <= time.time():
            raise TokenRefused(_GONE)
        if record["session"] is None:
            session, user = None, user_by("pk", record["user"])
            verify_fingerprint(user, record["password"])
        else:
            session = import_module(settings.SESSION_ENGINE).SessionStore(record["session"])
            user = load_user(session, new_key=False)
            if user is None or key_of(user) != record["user"]:
                raise TokenRefused("the session of the ticket has ended")
        # Tickets of a former version have no such entry.
        return Identity(user, record["connection"], session=session, token_id=record.get("token"))


@method_decorator([never_cache, csrf_protect], name="dispatch")
class TicketView(View):
    """Answers ``POST`` with a ticket for whoever is signed in, and its lifetime, as JSON.

    Pages send the CSRF token along, as with any form. A view of an API that finds its users by
    other means calls :func:`make_ticket` instead.
    """

    http_method_names = ["post"]  # noqa: RUF012 - as in Django

    def post(self, request: HttpRequest) -> HttpResponse:
        """Make a ticket."""
        if not request.user.is_authenticated:
            return JsonResponse({"detail": "Sign in first."}, status=401)
        session: Any = getattr(request, "session", {})
        key = session.session_key if SESSION_KEY in session else None
        ticket = make_ticket(request.user, session_key=key)
        return JsonResponse({"ticket": ticket, "expires_in": TicketPlan.from_settings().lifetime})

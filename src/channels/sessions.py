"""Cookies and Django sessions in the scope of HTTP and WebSocket connections.

Sessions are loaded when they are first read, so a connection without a session cookie costs no
query and no thread. An HTTP response saves the session as Django's own middleware would; on a
WebSocket nothing is saved until the consumer calls ``scope["session"].save()`` (or ``asave()``).
What is saved are the changes made on this connection; what others have saved meanwhile stays.
"""

import re
from collections.abc import Iterable
from contextlib import suppress
from datetime import datetime, timedelta
from importlib import import_module
from time import time
from typing import Any, ClassVar

from django.conf import settings
from django.contrib.sessions.backends.base import SessionBase, UpdateError
from django.contrib.sessions.exceptions import SessionInterrupted
from django.http.response import HttpResponseBase
from django.utils.functional import LazyObject
from django.utils.http import http_date

from ._runtime.denial import deny
from ._runtime.merging import merging
from ._runtime.scopes import from_server
from ._runtime.types import ASGIApplication, Message, Receive, Scope, Send
from .db import database_sync_to_async
from .exceptions import ScopeError
from .middleware import BaseMiddleware

__all__ = [
    "CookieMiddleware",
    "InstanceSessionWrapper",
    "SessionMiddleware",
    "SessionMiddlewareStack",
]


class CookieMiddleware(BaseMiddleware):
    """Puts the client's cookies into ``scope["cookies"]``, a dict of text by name.

    Cookies that are there already (from an outer middleware or a test) are left as they are.

    Raises:
        ValueError: The scope has no headers, so it is neither HTTP nor WebSocket.
    """

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application with the cookies in its scope."""
        if "cookies" not in scope:
            if "headers" not in scope:
                raise ScopeError(
                    "CookieMiddleware was passed a scope that did not have a headers key "
                    "(make sure it is only passed HTTP or WebSocket connections)"
                )
            scope = dict(scope, cookies=_parse_cookies(scope["headers"]))
        else:
            scope = dict(scope)
        running = self.inner(scope, receive, send)
        del scope  # not to be kept for as long as the connection lasts
        return await running

    @classmethod
    def set_cookie(
        cls,
        message: Message,
        key: str,
        value: str = "",
        max_age: float | timedelta | None = None,
        expires: str | datetime | None = None,
        path: str | None = "/",
        domain: str | None = None,
        secure: bool = False,
        httponly: bool = False,
        samesite: str | None = "lax",
    ) -> None:
        """Add a ``Set-Cookie`` header to a response message, as ``HttpResponse.set_cookie`` would.

        Args:
            message: The ``http.response.start`` (or ``websocket.accept``) message; its headers
                are replaced, not changed in place.
            key: Name of the cookie.
            value: Its value; what is not ASCII after quoting is sent as UTF-8.
            max_age: Lifetime in seconds or as a ``timedelta``; None for the browser session.
            expires: A ``datetime`` (UTC when naive) or a ready-made HTTP date, instead of
                ``max_age``.
            path: Path the cookie is sent back to.
            domain: Domain it is sent back to; None for exactly this host.
            secure: Whether the browser returns it over HTTPS only.
            httponly: Whether to hide it from JavaScript.
            samesite: ``"lax"``, ``"strict"``, ``"none"``, or None to leave it to the browser.

        Raises:
            ValueError: ``samesite`` is something else, or both ``max_age`` and an ``expires``
                datetime are given.
        """
        response: Any = HttpResponseBase()
        response.set_cookie(key, value, max_age, expires, path, domain, secure, httponly, samesite)
        _add_cookies(message, response)

    @classmethod
    def delete_cookie(
        cls,
        message: Message,
        key: str,
        path: str | None = "/",
        domain: str | None = None,
        samesite: str | None = "lax",
    ) -> None:
        """Add a ``Set-Cookie`` header that makes the browser forget a cookie.

        Args:
            message: As for :meth:`set_cookie`.
            key: Name of the cookie.
            path: The path it was set with.
            domain: The domain it was set with.
            samesite: The value it was set with.
        """
        response: Any = HttpResponseBase()
        response.delete_cookie(key, path=path, domain=domain, samesite=samesite)
        _add_cookies(message, response)


class InstanceSessionWrapper:
    """The session of one connection: resolves it, and saves it when the response starts.

    A session that an outer middleware (or a test) has put into the scope is passed through
    untouched: ``activated`` is False then.

    Attributes:
        scope: The copy of the scope for the inner application, with ``session``.
        activated: Whether this object resolves and saves the session.
        cookie_name: ``SESSION_COOKIE_NAME``.
        session_store: The ``SessionStore`` class of ``SESSION_ENGINE``.
        real_send: The ``send`` of the server.

    Raises:
        ValueError: The scope has no cookies.
    """

    #: Messages that save the session if it was modified.
    save_message_types: ClassVar[list[str]] = ["http.response.start"]
    #: Messages that carry the session cookie to the client.
    cookie_response_message_types: ClassVar[list[str]] = ["http.response.start"]

    def __init__(self, scope: Scope, send: Send) -> None:
        self.cookie_name: str = settings.SESSION_COOKIE_NAME
        self.session_store: type[SessionBase] = import_module(settings.SESSION_ENGINE).SessionStore
        self.scope: Scope = dict(scope)
        self.real_send = send
        self.activated = "session" not in scope
        self._interrupted = False
        if self.activated:
            if "cookies" not in scope:
                raise ScopeError(
                    "No cookies in scope - SessionMiddleware needs to run inside of "
                    "CookieMiddleware."
                )
            self.scope["session"] = LazyObject()

    @property
    def intercepts(self) -> bool:
        """Whether this connection can send a message that saves the session or its cookie.

        A WebSocket cannot, so its messages need not pass through here.
        """
        kinds = (*self.save_message_types, *self.cookie_response_message_types)
        return self.activated and any(kind.startswith(self.scope.get("type", "")) for kind in kinds)

    async def resolve_session(self) -> None:
        """Make the session that the cookie names. Reads nothing: the session loads itself."""
        if self.activated:
            key = self.scope["cookies"].get(self.cookie_name)
            store = merging(self.session_store)
            self.scope["session"]._wrapped = store(key if _plausible(key) else None)

    async def send(self, message: Message) -> None:
        """Send ``message`` to the client, after saving the session when it is time to.

        Raises:
            SessionInterrupted: The session was deleted meanwhile, and there is no client to tell
                (a client of a real server is answered with status 400 instead).
        """
        if self._interrupted:
            return  # the client has its answer; what the application still says is not for it
        kind = message.get("type")
        if self.activated and (
            kind in self.save_message_types or kind in self.cookie_response_message_types
        ):
            message = dict(message)
            try:
                await self._finish(message)
            except SessionInterrupted as error:
                if not from_server(self.scope):
                    raise
                self._interrupted = True
                await deny(
                    self.scope, self.real_send, status=400, reason=str(error), sender=type(self)
                )
                return
        await self.real_send(message)

    async def save_session(self) -> None:
        """Write the session to its store.

        Raises:
            SessionInterrupted: Somebody has deleted it since it was loaded.
        """
        try:
            await _store(self.scope["session"])
        except UpdateError as error:
            raise SessionInterrupted(
                "The session was deleted before the request completed. The user may have logged "
                "out in a concurrent request, for example."
            ) from error

    async def _finish(self, message: Message) -> None:
        """Save the session and add its cookie to ``message``, by the rules of Django's middleware.

        An emptied session loses its cookie; a modified one is saved unless the response is an
        error of the server; whatever was read makes the response vary by cookie. A response that
        has a session cookie already, of Django's middleware further in, keeps it.
        """
        session: SessionBase = self.scope["session"]
        carries_cookie = message["type"] in self.cookie_response_message_types
        if carries_cookie and _has_cookie(message, self.cookie_name):
            if session.modified and session.session_key:
                with suppress(SessionInterrupted):  # it has been replaced by the one of the cookie
                    await self.save_session()
            return
        varies = session.accessed
        if session.is_empty():
            if carries_cookie and self.cookie_name in self.scope["cookies"]:
                self._delete_cookie(message)
                varies = True
        elif (session.modified or settings.SESSION_SAVE_EVERY_REQUEST) and (
            message.get("status", 200) < 500
        ):
            if message["type"] in self.save_message_types:
                await self.save_session()
            if carries_cookie:
                self._set_cookie(message, session)
                varies = True
        if carries_cookie and varies:
            _vary_by_cookie(message)

    def _set_cookie(self, message: Message, session: SessionBase) -> None:
        # The session is in memory once it has been saved: asking for its expiry reads nothing.
        max_age = None if session.get_expire_at_browser_close() else session.get_expiry_age()
        CookieMiddleware.set_cookie(
            message,
            self.cookie_name,
            session.session_key or "",
            max_age=max_age,
            expires=None if max_age is None else http_date(time() + max_age),
            domain=settings.SESSION_COOKIE_DOMAIN,
            path=settings.SESSION_COOKIE_PATH,
            secure=settings.SESSION_COOKIE_SECURE,
            httponly=settings.SESSION_COOKIE_HTTPONLY,
            samesite=settings.SESSION_COOKIE_SAMESITE or None,
        )

    def _delete_cookie(self, message: Message) -> None:
        CookieMiddleware.delete_cookie(
            message,
            self.cookie_name,
            path=settings.SESSION_COOKIE_PATH,
            domain=settings.SESSION_COOKIE_DOMAIN,
            samesite=settings.SESSION_COOKIE_SAMESITE or None,
        )


class SessionMiddleware(BaseMiddleware):
    """Puts the Django session into ``scope["session"]``; must be inside ``CookieMiddleware``."""

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application with the session in its scope."""
        wrapper = InstanceSessionWrapper(scope, send)
        await wrapper.resolve_session()
        scope = wrapper.scope
        if wrapper.intercepts:
            send = wrapper.send
        running = self.inner(scope, receive, send)
        del wrapper, scope  # not to be kept for as long as the connection lasts
        return await running


def SessionMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:  # noqa: N802
    """Wrap ``inner`` so that it finds ``cookies`` and ``session`` in its scope."""
    return CookieMiddleware(SessionMiddleware(inner))


@database_sync_to_async
def _store(session: SessionBase) -> None:
    session.keys()  # loads it: one that had expired is new then, and can be saved as such
    session.save()


def _parse_cookies(headers: Iterable[tuple[bytes, bytes]]) -> dict[str, str]:
    """The cookies in ``headers``, as ``django.http.parse_cookie`` finds them; never raises.

    HTTP/2 clients may split their cookies over several headers (RFC 9113, 8.2.3).
    """
    text = b";".join(value for name, value in headers if name.lower() == b"cookie").decode("latin1")
    cookies = {}
    for pair in text.split(";") if text else ():
        key, equals, value = pair.partition("=")
        if not equals:  # a value without a name, say browsers
            key, value = "", pair
        key, value = key.strip(), value.strip()
        if key or value:
            cookies[key] = _unquote(value)
    return cookies


def _unquote(value: str) -> str:
    r"""Undo the quoting of ``http.cookies``: ``"a\073b\"c"`` is ``a;b"c``.

    Not left to the standard library, whose function takes seconds for one hostile header before
    Python 3.11.10, 3.12.6 and 3.13 (CVE-2024-7592), while every connection waits.
    """
    if len(value) < 2 or value[0] != '"' or value[-1] != '"':
        return value
    return _ESCAPED.sub(lambda m: chr(int(m[1], 8)) if m[1] else m[2], value[1:-1])


_ESCAPED = re.compile(r"\\(?:([0-3][0-7][0-7])|(.))")


def _plausible(session_key: Any) -> bool:
    """Whether a session engine can have made this key.

    They make printable ASCII; the rest is rubbish, and some stores choke on it (PostgreSQL on NUL).
    """
    return isinstance(session_key, str) and session_key.isascii() and session_key.isprintable()


def _add_cookies(message: Message, response: HttpResponseBase) -> None:
    cookies = (cookie.OutputString().encode() for cookie in response.cookies.values())
    headers = message.get("headers") or ()
    message["headers"] = [*headers, *((b"Set-Cookie", cookie) for cookie in cookies)]


def _has_cookie(message: Message, name: str) -> bool:
    """Whether the message sets or deletes this cookie already."""
    start = name.encode("latin-1") + b"="
    return any(
        header.lower() == b"set-cookie" and value.startswith(start)
        for header, value in message.get("headers") or ()
    )


def _vary_by_cookie(message: Message) -> None:
    """Tell caches that the response is made for these cookies, unless it already says so."""
    headers = list(message.get("headers") or ())
    fields = b",".join(value for name, value in headers if name.lower() == b"vary").lower()
    if not {b"*", b"cookie"} & {field.strip() for field in fields.split(b",")}:
        message["headers"] = [*headers, (b"Vary", b"Cookie")]

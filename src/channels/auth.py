"""Who is at the other end of a connection: Django's session authentication for scopes.

The rules are those of ``django.contrib.auth``: backends, session hashes, key rotation, session
fixation, signals. All that a call has to ask the database is asked in one visit to one thread.
"""

from typing import TYPE_CHECKING, Any, TypeAlias

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.base import SessionBase
from django.core.exceptions import ImproperlyConfigured
from django.utils.crypto import constant_time_compare
from django.utils.functional import LazyObject

from ._runtime.identity import when_signed_in
from ._runtime.types import ASGIApplication, Receive, Scope, Send
from .db import database_sync_to_async
from .exceptions import ScopeError
from .middleware import BaseMiddleware
from .sessions import CookieMiddleware, SessionMiddleware

if TYPE_CHECKING:
    from django.contrib.auth.base_user import AbstractBaseUser
    from django.contrib.auth.models import AnonymousUser

# The project's user model, or AnonymousUser. Type checkers cannot know the model (but for mypy with
# the plugin of django-stubs), and AbstractBaseUser has not even a ``username``.
AnyUser: TypeAlias = Any

__all__ = [
    "AuthMiddleware",
    "AuthMiddlewareStack",
    "UserLazyObject",
    "get_user",
    "login",
    "logout",
]


async def get_user(scope: Scope) -> AnyUser:
    """The user that the session of ``scope`` belongs to, or an ``AnonymousUser``.

    Call it again on a long connection to learn whether the user is still signed in: the user is
    always fetched anew, and a session that was deleted (by signing out elsewhere) or has expired
    belongs to nobody.

    A session whose hash only a key of ``SECRET_KEY_FALLBACKS`` verifies is accepted and gets a
    hash of the current key. It gets a new session key too, as in Django, but not on a WebSocket:
    the browser could not be told, and would find itself signed out.

    Args:
        scope: Of a connection inside ``SessionMiddleware``.

    Raises:
        ValueError: There is no session in the scope.
    """
    session = _session_of(scope)
    if isinstance(session, SessionBase) and session.is_empty():
        session.accessed = True  # the answer depends on the cookie, though no store was asked
        return _anonymous()
    user = await _load_user(session, new_key=scope.get("type") != "websocket")
    return user or _anonymous()


async def login(scope: Scope, user: "AbstractBaseUser | None", backend: str | None = None) -> None:
    """Sign ``user`` in: the session of ``scope`` and ``scope["user"]`` are theirs from now on.

    As in Django, an anonymous session keeps its data and gets a new key, and another user's
    session is emptied first. The session is saved by the next ``http.response.start``; on a
    WebSocket, and once the response has started, save it yourself:
    ``await scope["session"].asave()``. A scope is not a request: ``user_logged_in`` is sent with
    ``request=None``, and no CSRF token is rotated.

    Args:
        scope: Of a connection inside ``SessionMiddleware``.
        user: the user that has been authenticated; None for ``scope["user"]``.
        backend: Dotted path of the authentication backend, needed when there are several and
            ``user`` does not come from ``authenticate()``.

    Raises:
        ValueError: There is no session in the scope, no user to sign in, or no way to tell which
            backend to use.
        TypeError: ``backend`` is not a dotted path.
    """
    session = _session_of(scope)
    if user is None:
        user = scope.get("user")
    if user is None or not getattr(user, "is_authenticated", True):
        raise ScopeError("User must be passed as an argument or must be present in the scope.")
    await _sign_in(session, user, _backend_path(user, backend))
    scope["user"] = user
    for callback in when_signed_in:
        callback(scope)


async def logout(scope: Scope) -> None:
    """Sign out whoever is signed in: the session is emptied, and its stored data deleted.

    ``scope["user"]``, where there is one, becomes an ``AnonymousUser``. ``user_logged_out`` is
    sent first, with ``request=None`` and the user, but not if nobody was signed in.

    Args:
        scope: Of a connection inside ``SessionMiddleware``.

    Raises:
        ValueError: There is no session in the scope.
    """
    session = _session_of(scope)
    user = scope.get("user")
    if not getattr(user, "is_authenticated", True):
        user = None
    await _sign_out(session, user)
    if "user" in scope:
        scope["user"] = _anonymous()


class UserLazyObject(LazyObject):  # type: ignore[type-arg]  # generic in the stubs only
    """Stands for the user in the scope until ``AuthMiddleware`` has loaded the user."""

    def _setup(self) -> None:
        raise ScopeError("Accessing scope user before it is ready.")


class AuthMiddleware(BaseMiddleware):
    """Puts the signed-in user into ``scope["user"]``; must be inside ``SessionMiddleware``.

    Subclasses override :meth:`resolve_scope` to find the user in another way.
    """

    def populate_scope(self, scope: Scope) -> None:
        """Make sure that ``scope`` has a session, and a user, even if not known yet.

        Raises:
            ValueError: There is no session in the scope.
        """
        if "session" not in scope:
            raise ScopeError(
                "AuthMiddleware cannot find session in scope. SessionMiddleware must be above it."
            )
        if "user" not in scope:
            scope["user"] = UserLazyObject()

    async def resolve_scope(self, scope: Scope) -> None:
        """Load the user for ``scope["user"]``.

        A user that an outer middleware has signed in, or that a test has put there, stays.
        """
        user = scope["user"]
        if isinstance(user, LazyObject) and not getattr(user._wrapped, "is_authenticated", False):
            user._wrapped = await get_user(scope)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application with the user in its scope."""
        scope = dict(scope)
        self.populate_scope(scope)
        await self.resolve_scope(scope)
        running = self.inner(scope, receive, send)
        del scope  # not to be kept for as long as the connection lasts
        return await running


def AuthMiddlewareStack(inner: ASGIApplication) -> CookieMiddleware:  # noqa: N802
    """Wrap ``inner`` so that it finds ``cookies``, ``session`` and ``user`` in its scope."""
    return CookieMiddleware(SessionMiddleware(AuthMiddleware(inner)))


def _session_of(scope: Scope) -> Any:
    if "session" not in scope:
        raise ScopeError(
            "Cannot find session in scope. You should wrap your consumer in SessionMiddleware."
        )
    return scope["session"]


def _anonymous() -> "AnonymousUser":
    # Models cannot be imported before the app registry is ready, and routing may well be.
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415

    return AnonymousUser()


def _backend_path(user: "AbstractBaseUser", backend: str | None) -> str:
    """The dotted path of the backend that ``user`` comes from."""
    path = backend or getattr(user, "backend", None)
    if path is None:
        configured = settings.AUTHENTICATION_BACKENDS
        if not configured:
            raise ImproperlyConfigured("AUTHENTICATION_BACKENDS is empty: nobody can sign in.")
        if len(configured) > 1:
            raise ValueError(
                "You have multiple authentication backends configured and therefore must provide "
                "the `backend` argument or set the `backend` attribute on the user."
            )
        path = configured[0]
    if not isinstance(path, str):
        raise TypeError(f"backend must be a dotted import path string (got {path!r}).")
    return path


# Everything below runs in a thread: it may ask the database.


def load_user(session: SessionBase, *, new_key: bool) -> Any:
    """The user that has signed in with ``session``, or None. Asks the store and the database.

    Args:
        session: the session.
        new_key: whether it may get a new key, where one of ``SECRET_KEY_FALLBACKS`` has signed it.
    """
    if _ended_elsewhere(session):
        return None
    try:
        user_id, backend_path = _user_id(session), session[BACKEND_SESSION_KEY]
    except KeyError:
        return None
    if backend_path not in settings.AUTHENTICATION_BACKENDS:
        return None
    user: Any = load_backend(backend_path).get_user(user_id)
    if not hasattr(user, "get_session_auth_hash") or _verify(session, user, new_key):
        return user
    session.flush()
    return None


_load_user = database_sync_to_async(load_user)


@database_sync_to_async
def _sign_in(session: SessionBase, user: "AbstractBaseUser", backend_path: str) -> None:
    # Not every custom user model has a hash to compare.
    auth_hash = user.get_session_auth_hash() if hasattr(user, "get_session_auth_hash") else ""
    if _ended_elsewhere(session):
        session.flush()  # what ended is not to come back
    if SESSION_KEY not in session:
        session.cycle_key()
    elif _user_id(session) != user.pk or (
        auth_hash and not constant_time_compare(session.get(HASH_SESSION_KEY, ""), auth_hash)
    ):
        session.flush()
    session[SESSION_KEY] = user._meta.pk.value_to_string(user)
    session[BACKEND_SESSION_KEY] = backend_path
    session[HASH_SESSION_KEY] = auth_hash
    user_logged_in.send(sender=user.__class__, request=None, user=user)


@database_sync_to_async
def _sign_out(session: SessionBase, user: "AbstractBaseUser | None") -> None:
    if user is not None:
        user_logged_out.send(sender=user.__class__, request=None, user=user)
    session.flush()


def _user_id(session: SessionBase) -> Any:
    return get_user_model()._meta.pk.to_python(session[SESSION_KEY])


#: Its well-known name.
_get_user_session_key = _user_id


def _verify(session: SessionBase, user: "AbstractBaseUser", new_key: bool) -> bool:
    """Whether ``session`` was made with the user's present password, and one of our keys."""
    stored = session.get(HASH_SESSION_KEY)
    if not stored:
        return False
    current = user.get_session_auth_hash()
    if constant_time_compare(stored, current):
        return True
    fallbacks = user.get_session_auth_fallback_hash()
    if not any(constant_time_compare(stored, fallback) for fallback in fallbacks):
        return False
    if new_key:
        session.cycle_key()
    session[HASH_SESSION_KEY] = current
    return True


def _ended_elsewhere(session: SessionBase) -> bool:
    """Whether the store no longer has the session that is in memory.

    Sessions load once and then stay as they were, whatever becomes of them in the store.
    """
    if not hasattr(session, "_session_cache") or not session.session_key:
        return False
    stored = session.__class__(session.session_key)
    stored.load()
    return bool(stored.session_key != session.session_key)  # loading what is gone changes the key

"""Whether the user of a connection may still go on: what the database and the session store say."""

import logging
from datetime import datetime, timedelta
from typing import Any

from django.conf import settings
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
    load_backend,
)
from django.contrib.sessions.backends.base import SessionBase
from django.core import signing
from django.utils import timezone

from .._runtime import lograte
from .._runtime.connections import Drainable
from .._runtime.identity import session_of, user_id_of
from .._runtime.merging import is_unsaved
from .._runtime.scopes import CREDENTIAL
from ..auth import _verify
from ..db import database_sync_to_async
from .finding import renamed

__all__ = [
    "HASH",
    "acceptable",
    "ends_with_its_session",
    "expiry_of",
    "is_signed_in_by_session",
    "refused",
    "vanished",
]

logger = logging.getLogger("channels.revocation")

#: Key in a scope: the user's session hash, as it was when the session got another key.
HASH = "channels.auth_hash"


def _has_another_credential(connection: Drainable) -> bool:
    """Whether a token says who the user is, whatever cookie came with that."""
    credential = connection.scope.get(CREDENTIAL)
    return credential is not None and not credential.by_session


def is_signed_in_by_session(connection: Drainable) -> bool:
    """Whether it is a session that says who the connection's user is."""
    if _has_another_credential(connection):
        return False
    session = session_of(connection.scope)
    if not isinstance(session, SessionBase):
        return False
    key = getattr(session, "_session_cache", {}).get(SESSION_KEY)
    return key is not None and str(key) == user_id_of(connection.scope)


def ends_with_its_session(connection: Drainable) -> bool:
    """Whether it may not go on when its session has ended.

    Not if somebody else has said who the user is, such as a token, while the session was not asked
    or belongs to another user.
    """
    data = getattr(session_of(connection.scope), "_session_cache", None)
    if data is None or not acceptable(connection) or _has_another_credential(connection):
        return False
    return SESSION_KEY not in data or is_signed_in_by_session(connection)


@database_sync_to_async
def refused(connections: list[Drainable]) -> dict[Drainable, str]:
    """Those of some connections that may not go on, and why. Asks the store and the database.

    Where these cannot be asked, a connection goes on, and the log says so.
    """
    found = {}
    for connection in connections:
        try:
            reason = _refusal(connection)
        except Exception as error:  # noqa: BLE001 - of whatever store: it says nothing about the user
            _tell(error)
        else:
            if reason is not None:
                found[connection] = reason
    return found


def acceptable(connection: Drainable) -> bool:
    """Whether it is worth asking: somebody is signed in, and the consumer wants it."""
    wanted = getattr(connection.consumer, "ends_with_session", True)
    return wanted and user_id_of(connection.scope) is not None


def _refusal(connection: Drainable) -> str | None:
    """Why the connection may not go on, or None."""
    scope = connection.scope
    credential = scope.get(CREDENTIAL)
    if credential is not None and credential.is_revoked():
        return "the token was revoked"
    if not is_signed_in_by_session(connection):
        return _refusal_of_user(scope)
    session: Any = session_of(scope)
    known = session._session_cache
    stored = type(session)(session.session_key)
    has_another_key = renamed(connection) is not None
    if has_another_key:  # which this process does not know
        stored._session_cache = dict(known)
    else:
        stored.load()
        if stored.session_key != session.session_key:
            return "the session has ended"
        if SESSION_KEY not in stored and is_unsaved(session, SESSION_KEY):
            stored._session_cache = dict(known)  # of a sign-in that only this connection knows
        if stored.get(BACKEND_SESSION_KEY) not in settings.AUTHENTICATION_BACKENDS:
            return "the session has ended"
        if stored.get(SESSION_KEY) != known[SESSION_KEY]:
            return "somebody else has signed in"
    model = get_user_model()
    user = load_backend(stored[BACKEND_SESSION_KEY]).get_user(
        model._meta.pk.to_python(stored[SESSION_KEY])
    )
    if user is None:
        return "the user is gone or not active"
    if not hasattr(user, "get_session_auth_hash"):
        return None
    if has_another_key:
        stored[HASH_SESSION_KEY] = scope.setdefault(HASH, user.get_session_auth_hash())
    return None if _verify(stored, user, new_key=False) else "the password has changed"


def _refusal_of_user(scope: Any) -> str | None:
    """Of a user that was signed in otherwise, by a token say."""
    model: Any = get_user_model()
    user = scope.get("user")
    if not isinstance(user, model):  # no row to look at
        return None
    row = model._base_manager.filter(pk=user.pk).first()
    if row is None or not getattr(row, "is_active", True):
        return "the user is gone or not active"
    # What a token says was found out with the password that the user had then.
    by_token = CREDENTIAL in scope and hasattr(user, "get_session_auth_hash")
    if by_token and row.get_session_auth_hash() != user.get_session_auth_hash():
        return "the password has changed"
    return None


@database_sync_to_async
def vanished(connections: list[Drainable]) -> list[Drainable]:
    """Those of some connections whose session the store has no longer."""
    found = []
    for connection in connections:
        session = session_of(connection.scope)
        try:
            gone = renamed(connection) is None and not session.exists(session.session_key)
        except Exception as error:  # noqa: BLE001 - of whatever store
            _tell(error)
        else:
            if gone:
                found.append(connection)
    return found


def _tell(error: Exception) -> None:
    text = "Whether users are still signed in cannot be found out (%s: %s)"
    lograte.log(logger, logging.WARNING, "unknown", text, type(error).__name__, str(error))


@database_sync_to_async
def expiry_of(sessions: list[Any]) -> list[datetime | None]:
    """When each of some sessions expires, as far as its store can tell; None where it cannot."""
    rows: dict[str, datetime] = {}
    models: set[Any] = {getattr(session, "model", None) for session in sessions}
    for model in models - {None}:
        keys = [session.session_key for session in sessions]
        found = model.objects.filter(session_key__in=keys)
        rows.update(found.values_list("session_key", "expire_date"))
    return [rows.get(session.session_key) or _own_expiry(session) for session in sessions]


def _own_expiry(session: Any) -> datetime | None:
    if hasattr(session, "_last_modification"):  # in files
        try:
            begin: datetime = session._last_modification()
        except OSError:  # it is gone, or has got another key
            return None
        return begin + timedelta(seconds=_age(session))
    if type(session).__module__.endswith("signed_cookies") and session.session_key:
        stamp = signing.b62_decode(session.session_key.rsplit(":", 2)[1])
        return datetime.fromtimestamp(stamp, tz=timezone.get_default_timezone()) + timedelta(
            seconds=_age(session)
        )
    return None


def _age(session: Any) -> int:
    """Seconds for which the session is valid after it was saved."""
    age: int = session.get_expiry_age(modification=timezone.now())
    return age

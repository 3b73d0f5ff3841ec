"""Whose connection it is, as its scope says now; nothing is loaded to find out."""

from collections.abc import Callable
from typing import Any

from django.contrib.auth import SESSION_KEY
from django.utils.functional import LazyObject, empty

from .types import Scope

__all__ = ["session_key_of", "session_of", "user_id_of", "when_signed_in"]

#: Called with its scope when somebody signs in on a connection that is open.
when_signed_in: list[Callable[[Scope], None]] = []


def user_id_of(scope: Scope) -> str | None:
    """The primary key of the user that is signed in, as text.

    None if nobody is, or if nothing has asked yet who it is.
    """
    user = _loaded(scope.get("user"))
    if user is None:
        loaded = getattr(session_of(scope), "_session_cache", {})
        key = loaded.get(SESSION_KEY)
    else:
        key = getattr(user, "pk", None) if getattr(user, "is_authenticated", False) else None
    return None if key is None else str(key)


def session_of(scope: Scope) -> Any:
    """The session, or None if there is none."""
    return _loaded(scope.get("session"))


def session_key_of(scope: Scope) -> str | None:
    """The key of the session, or None if there is none."""
    return getattr(session_of(scope), "session_key", None)


def _loaded(value: Any) -> Any:
    """What a lazy object stands for, if it knows already; any other value as it is."""
    while isinstance(value, LazyObject):
        value = value._wrapped
        if value is empty:
            return None
    return value

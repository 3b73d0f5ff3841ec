"""Users that tokens name."""

import hashlib
from collections.abc import Mapping
from typing import Any

from django.contrib.auth import get_user_model
from django.core.exceptions import MultipleObjectsReturned, ObjectDoesNotExist, ValidationError
from django.utils.crypto import constant_time_compare

from ..._runtime.arguments import shown
from ...exceptions import InvalidArgument, TokenRefused

__all__ = ["fingerprint", "id_in", "key_of", "user_by", "verify_fingerprint"]


def user_by(field: str, value: Any) -> Any:
    """The active user whose ``field`` is ``value``. Asks the database.

    Raises:
        TokenRefused: there is none.
    """
    try:
        user = get_user_model()._default_manager.get(**{field: value})
    except (ObjectDoesNotExist, TypeError, ValueError, ValidationError, OverflowError):
        raise TokenRefused("the user is gone") from None
    except MultipleObjectsReturned:
        raise TokenRefused(f"several users have the same {field}") from None
    if not getattr(user, "is_active", True):
        raise TokenRefused("the user is not active")
    return user


def key_of(user: Any) -> str:
    """The primary key of a user, as text.

    Raises:
        InvalidArgument: it is no user, or one that has no primary key.
    """
    if not isinstance(user, get_user_model()):
        raise InvalidArgument(
            f"user must be a user, a row of your user model, not {shown(user)}; fetch it from the "
            "database first"
        )
    if user.pk is None:
        raise InvalidArgument(f"user must have a primary key; save {shown(user)} first")
    key: str = user._meta.pk.value_to_string(user)
    return key


def id_in(claims: Mapping[str, Any], name: str) -> str | None:
    """What a claim calls its token; None if it is no text and no number."""
    value = claims.get(name)
    return str(value) if isinstance(value, str | int) else None


def fingerprint(user: Any) -> str:
    """What changes with the user's password, and tells nothing of it."""
    return _digest(user.get_session_auth_hash()) if _has_hash(user) else ""


def verify_fingerprint(user: Any, found: Any) -> None:
    """Compare with one that was made before, perhaps with an older ``SECRET_KEY``.

    Raises:
        TokenRefused: the password has changed.
    """
    if not _has_hash(user):
        return
    hashes = (user.get_session_auth_hash(), *user.get_session_auth_fallback_hash())
    if not any(constant_time_compare(str(found), _digest(it)) for it in hashes):
        raise TokenRefused("the password has changed")


def _has_hash(user: Any) -> bool:
    """Not every custom user model has one."""
    return hasattr(user, "get_session_auth_hash")


def _digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:32]

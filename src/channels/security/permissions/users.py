"""What a connection knows of its user, who may change while the connection lasts."""

from typing import Any, Protocol

from ..._runtime import clock
from ..._runtime.arguments import as_scope
from ..._runtime.types import Scope
from .base import require_bool

__all__ = ["KnownUser", "Question", "forget_permissions", "known_user"]

_KEY = "channels.permissions"


class Question(Protocol):
    """What is asked about a user."""

    max_age: float

    def allows(self, user: Any) -> bool:
        """The answer for ``user``."""


class KnownUser:
    """What a connection knows about its user."""

    __slots__ = ("_since", "_user", "answers", "of")

    def __init__(self, user: Any, *, fresh: bool) -> None:
        self.of = user
        self._user = user
        self._since = clock.now() if fresh else None
        self.answers: dict[Question, bool] = {}

    def age(self) -> float:
        """Seconds since the user was fetched."""
        return float("inf") if self._since is None else clock.now() - self._since

    def ask(self, permission: Question) -> bool:
        """The answer of ``permission``, about a user who is fetched anew if known for too long."""
        if self.age() >= permission.max_age:
            self._user = _fetch(self.of)
            self._since = clock.now()
            self.answers.clear()
        answer = require_bool(permission, permission.allows(self._user))
        self.answers[permission] = answer
        return answer


def known_user(scope: Scope, user: Any, message_type: str | None) -> KnownUser:
    """What is known about ``user``, who has just been fetched if the client connects now."""
    known: KnownUser | None = scope.get(_KEY)
    if known is None or known.of is not user:  # signed in as somebody else meanwhile
        known = scope[_KEY] = KnownUser(user, fresh=message_type is None)
    return known


def _fetch(user: Any) -> Any:
    """The user as the database has them now; an ``AnonymousUser`` if it has them no more."""
    from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415 - it needs the apps

    manager = getattr(user.__class__, "_default_manager", None)  # a lazy object tells its user's
    if manager is None or user.pk is None:
        return user  # anonymous, or of a token and in no table
    return manager.filter(pk=user.pk).first() or AnonymousUser()


def forget_permissions(scope: Scope) -> None:
    """Ask the database again, with the next message, what the user of ``scope`` may do.

    Call it when a permission or a group of the user has changed and that is to count at once,
    for instance in a handler of layer messages that a signal of your project has sent.

    Raises:
        InvalidArgument: it is no scope.
    """
    as_scope(scope).pop(_KEY, None)

"""The permissions that most projects need."""

from abc import abstractmethod
from typing import Any

from ..._runtime import threads
from ..._runtime.arguments import as_text
from ..._runtime.scopes import from_server
from ..._runtime.types import Scope
from ...exceptions import InvalidPermission, ScopeError
from .base import Permission
from .users import known_user

__all__ = [
    "AllowAny",
    "HasPermission",
    "InGroup",
    "IsAnonymous",
    "IsAuthenticated",
    "IsStaff",
    "IsSuperuser",
    "UserPermission",
]


class AllowAny(Permission):
    """Everybody."""

    blocking = False

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        """True."""
        return True


class _OfTheUser(Permission):
    @property
    def needs_user(self) -> bool:
        """True."""
        return True

    def _user(self, scope: Scope) -> Any:
        try:
            user = scope["user"]
        except KeyError:
            raise ScopeError(
                f"{type(self).__qualname__} needs scope['user'], which AuthMiddleware puts there: "
                "wrap the application in channels.auth.AuthMiddlewareStack(...)."
            ) from None
        if user is None:  # as middleware of a project's own may say of a client without a user
            from django.contrib.auth.models import AnonymousUser  # noqa: PLC0415

            return AnonymousUser()
        return user


class IsAuthenticated(_OfTheUser):
    """Those who have signed in."""

    blocking = False

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        """Whether the user is not an ``AnonymousUser``."""
        return bool(self._user(scope).is_authenticated)


class IsAnonymous(_OfTheUser):
    """Those who have not signed in."""

    blocking = False

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        """Whether the user is an ``AnonymousUser``."""
        return not self._user(scope).is_authenticated


class UserPermission(_OfTheUser):
    """A rule about the user, whose answer is remembered. Subclass it, and override :meth:`allows`.

    A connection lasts, and users change meanwhile. The answer is remembered in the scope for
    :attr:`max_age` seconds. Then the user is fetched from the database anew, with the next message
    that needs it, and asked again. :func:`forget_permissions` has that done at once.
    """

    #: Seconds for which an answer is remembered.
    max_age: float = 60.0

    @abstractmethod
    def allows(self, user: Any) -> bool:
        """Whether ``user``, who may be an ``AnonymousUser``, passes. It may query the database."""

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        """What :meth:`allows` says now, or has said in the last :attr:`max_age` seconds."""
        return self.check(scope, message_type)

    def check(self, scope: Scope, message_type: str | None = None) -> bool:
        """The answer, in a thread that may wait."""
        known = known_user(scope, self._user(scope), message_type)
        answer = known.answers.get(self) if known.age() < self.max_age else None
        return known.ask(self) if answer is None else answer

    async def acheck(self, scope: Scope, message_type: str | None = None) -> bool:
        """The answer, from the event loop."""
        known = known_user(scope, self._user(scope), message_type)
        fresh = known.age() < self.max_age
        answer = known.answers.get(self) if fresh else None
        if answer is not None:
            return answer
        if fresh and not self.blocking:
            return known.ask(self)
        asked: bool = await threads.run(known.ask, self, pooled=from_server(scope))
        return asked


class IsStaff(UserPermission):
    """Active users who may use Django's admin (``is_staff``)."""

    blocking = False

    def allows(self, user: Any) -> bool:
        """Whether they are active, and staff."""
        return bool(user.is_active and user.is_staff)


class IsSuperuser(UserPermission):
    """Active users with every permission (``is_superuser``)."""

    blocking = False

    def allows(self, user: Any) -> bool:
        """Whether they are active, and superusers."""
        return bool(user.is_active and user.is_superuser)


class HasPermission(UserPermission):
    """Users who have permissions of Django's, by themselves or by a group, as ``has_perm()`` says.

    Args:
        permission: ``"app.codename"``.
        *more: others that they need as well.

    Raises:
        InvalidPermission: one of them is not written so.
    """

    def __init__(self, permission: str, *more: str) -> None:
        self.names = (permission, *more)
        for name in self.names:
            app, _, codename = str(name).partition(".")
            if not (app and codename):
                raise InvalidPermission(
                    f"{name!r} is no permission of Django's; write 'app.codename', for instance "
                    "'wiki.change_page'"
                )

    def allows(self, user: Any) -> bool:
        """Whether they have them all."""
        return all(user.has_perm(name) for name in self.names)

    def __repr__(self) -> str:
        return f"HasPermission({', '.join(map(repr, self.names))})"


class InGroup(UserPermission):
    """Active users in a group of Django's, or in one of several. Superusers must be in it too.

    Args:
        name: of the group.
        *others: names of other groups that will do.

    Raises:
        InvalidPermission: one of them is no name.
    """

    def __init__(self, name: str, *others: str) -> None:
        self.names = (name, *others)
        for each in self.names:
            as_text("The name of a group", each, "'editors'", InvalidPermission)

    def allows(self, user: Any) -> bool:
        """Whether they are active, and in one of the groups."""
        return bool(user.is_active and user.groups.filter(name__in=self.names).exists())

    def __repr__(self) -> str:
        return f"InGroup({', '.join(map(repr, self.names))})"

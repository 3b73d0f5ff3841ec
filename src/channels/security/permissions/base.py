"""What a permission is, and how permissions combine."""

import inspect
from abc import ABCMeta, abstractmethod
from collections.abc import Awaitable
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from ..._runtime import threads
from ..._runtime.scopes import from_server
from ..._runtime.types import Scope
from ...exceptions import InvalidPermission

__all__ = ["Permission", "as_permission", "entry_rule", "require_bool"]


class _Combinable(ABCMeta):
    """Lets a class that needs no arguments stand for its instance: ``IsAuthenticated & IsStaff``.

    Without this, ``|`` of two classes would be a type, and ``&`` an error that does not say why.
    """

    def __and__(cls, other: Any) -> "Permission":
        return _All(as_permission(cls), as_permission(other))

    def __or__(cls, other: Any) -> Any:
        if _is_permission(other):
            return _Any(as_permission(cls), as_permission(other))
        return super().__or__(other)  # an annotation: Permission | None

    def __invert__(cls) -> "Permission":
        return _Not(as_permission(cls))


class Permission(metaclass=_Combinable):
    """One rule. Subclass it, and override :meth:`has_permission`."""

    #: Whether a plain ``has_permission()`` may wait, as one does that asks the database. Then it
    #: runs in a thread. Set it to False for one that only looks at what is in memory.
    blocking: ClassVar[bool] = True

    @abstractmethod
    def has_permission(
        self, scope: Scope, message_type: str | None = None
    ) -> bool | Awaitable[bool]:
        """Whether what is asked for is allowed. Override it with ``def`` or ``async def``.

        Args:
            scope: of the connection, with its ``user`` and ``url_route``.
            message_type: the type of the message that the client sends; None when it connects.
        """

    @property
    def needs_user(self) -> bool:
        """Whether it looks at ``scope["user"]``, which an auth middleware puts there."""
        return False

    def __and__(self, other: Any) -> "Permission":
        return _All(self, as_permission(other))

    def __or__(self, other: Any) -> "Permission":
        return _Any(self, as_permission(other))

    def __invert__(self) -> "Permission":
        return _Not(self)

    def __repr__(self) -> str:
        return f"{type(self).__name__}()"

    def check(self, scope: Scope, message_type: str | None = None) -> bool:
        """Ask :meth:`has_permission`, in a thread that may wait.

        Raises:
            InvalidPermission: it has returned something else than True or False.
        """
        outcome = self.has_permission(scope, message_type)
        if inspect.isawaitable(outcome):
            outcome = async_to_sync(_await)(outcome)
        return require_bool(self, outcome)

    async def acheck(self, scope: Scope, message_type: str | None = None) -> bool:
        """Ask :meth:`has_permission`, from the event loop.

        Raises:
            InvalidPermission: it has returned something else than True or False.
        """
        asked = self.has_permission
        outcome: Any
        if self.blocking and not inspect.iscoroutinefunction(asked):
            outcome = await threads.run(asked, scope, message_type, pooled=from_server(scope))
        else:
            outcome = asked(scope, message_type)
        if inspect.isawaitable(outcome):
            outcome = await outcome
        return require_bool(self, outcome)

    def refusal(self, scope: Scope) -> tuple[int, str]:
        """How to refuse: 401 to those who could sign in, else 403; and the reason, for the log."""
        if "user" not in scope:
            return 403, f"it asks for {self!r}"
        user = scope["user"]
        if user is None or not user.is_authenticated:
            return 401, f"it asks for {self!r}, and nobody is signed in"
        return 403, f"it asks for {self!r}, which refuses the user {user.pk}"


def require_bool(permission: object, outcome: Any) -> bool:
    """``outcome``, the answer of ``permission``.

    Raises:
        InvalidPermission: it is neither True nor False. Anything could have been forgotten, such as
            an ``await`` or a ``return``.
    """
    if outcome is True or outcome is False:
        return bool(outcome)
    raise InvalidPermission(
        f"{type(permission).__qualname__} has answered {type(outcome).__name__}; "
        "return True or False"
    )


async def _await(outcome: Awaitable[Any]) -> Any:
    return await outcome


def as_permission(value: Any) -> Permission:
    """``value`` if it is a permission, or an instance if it is a class of one.

    Raises:
        InvalidPermission: it is neither.
    """
    if isinstance(value, type) and issubclass(value, Permission):
        value = value()
    if not isinstance(value, Permission):
        raise InvalidPermission(
            f"{value!r} is no permission of channels.security.permissions; write for instance "
            'IsAuthenticated() & HasPermission("app.change_page")'
        )
    return value


def _is_permission(value: Any) -> bool:
    return isinstance(value, Permission) or (
        isinstance(value, type) and issubclass(value, Permission)
    )


def entry_rule(value: Any) -> Permission | None:
    """What the attribute ``permissions`` of a consumer says; None for everybody.

    A project may have an attribute or a method of that name for something else, which says nothing.

    Raises:
        InvalidPermission: it was meant as permissions, and is not written as they are.
    """
    if value is None or inspect.isroutine(value):
        return None
    parts = value if isinstance(value, list | tuple | set | frozenset) else (value,)
    return as_permission(value) if any(hasattr(it, "has_permission") for it in parts) else None


# Combinations: asked from left to right, as far as necessary.


class _Pair(Permission):
    def __init__(self, left: Permission, right: Permission) -> None:
        self.left = left
        self.right = right

    @property
    def needs_user(self) -> bool:
        return self.left.needs_user or self.right.needs_user

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        return self.check(scope, message_type)


class _All(_Pair):
    def check(self, scope: Scope, message_type: str | None = None) -> bool:
        return self.left.check(scope, message_type) and self.right.check(scope, message_type)

    async def acheck(self, scope: Scope, message_type: str | None = None) -> bool:
        return await self.left.acheck(scope, message_type) and await self.right.acheck(
            scope, message_type
        )

    def __repr__(self) -> str:
        return " & ".join(
            f"({part!r})" if isinstance(part, _Any) else repr(part)
            for part in (self.left, self.right)
        )


class _Any(_Pair):
    def check(self, scope: Scope, message_type: str | None = None) -> bool:
        return self.left.check(scope, message_type) or self.right.check(scope, message_type)

    async def acheck(self, scope: Scope, message_type: str | None = None) -> bool:
        return await self.left.acheck(scope, message_type) or await self.right.acheck(
            scope, message_type
        )

    def __repr__(self) -> str:
        return f"{self.left!r} | {self.right!r}"


class _Not(Permission):
    def __init__(self, inner: Permission) -> None:
        self.inner = inner

    @property
    def needs_user(self) -> bool:
        return self.inner.needs_user

    def has_permission(self, scope: Scope, message_type: str | None = None) -> bool:
        return self.check(scope, message_type)

    def check(self, scope: Scope, message_type: str | None = None) -> bool:
        return not self.inner.check(scope, message_type)

    async def acheck(self, scope: Scope, message_type: str | None = None) -> bool:
        return not await self.inner.acheck(scope, message_type)

    def __repr__(self) -> str:
        return f"~({self.inner!r})" if isinstance(self.inner, _Pair) else f"~{self.inner!r}"

"""Who may connect, and who may send which messages: rules that combine with ``&``, ``|`` and ``~``.

    class Editor(AsyncJsonWebsocketConsumer):
        permissions = IsAuthenticated() & (InGroup("editors") | HasPermission("wiki.change_page"))

A consumer's :attr:`~channels.consumer.AsyncConsumer.permissions` are checked before its
``connect()``; :class:`PermissionMiddleware` checks for whatever it wraps. A rule of your own
derives from :class:`Permission`. One that raises lets nobody in: the connection ends as after any
other mistake of the application.

What is asked of the database is remembered for the connection; see :class:`UserPermission`.
"""

from .base import Permission, as_permission
from .middleware import PermissionMiddleware
from .rules import (
    AllowAny,
    HasPermission,
    InGroup,
    IsAnonymous,
    IsAuthenticated,
    IsStaff,
    IsSuperuser,
    UserPermission,
)
from .users import forget_permissions

__all__ = [
    "AllowAny",
    "HasPermission",
    "InGroup",
    "IsAnonymous",
    "IsAuthenticated",
    "IsStaff",
    "IsSuperuser",
    "Permission",
    "PermissionMiddleware",
    "UserPermission",
    "as_permission",
    "forget_permissions",
]

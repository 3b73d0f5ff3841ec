"""Permissions for whole applications, such as the routes of a ``URLRouter``."""

from typing import Any

from ..._runtime.entry import refuse_entry
from ..._runtime.types import ASGIApplication, Receive, Scope, Send
from ...middleware import BaseMiddleware
from .base import Permission, as_permission

__all__ = ["PermissionMiddleware"]


class PermissionMiddleware(BaseMiddleware):
    """Refuses WebSockets and HTTP requests that a permission refuses; wraps any application.

    Put it inside the middleware that finds the user. Anonymous clients get 401, signed-in ones 403.

    Args:
        inner: the application to wrap.
        permission: who may come in.
        refuse_by_close: accept a WebSocket that is refused, and close it with 4401 or 4403, which
            pages can see. They cannot see the status of a handshake.
    """

    def __init__(
        self,
        inner: ASGIApplication,
        permission: "Permission | type[Permission]",
        *,
        refuse_by_close: bool = False,
    ) -> None:
        super().__init__(inner)
        self.permission = as_permission(permission)
        self.refuse_by_close = refuse_by_close

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application if the permission allows it, or refuse the client."""
        scope = dict(scope)
        if scope["type"] in {"websocket", "http"} and not await self.permission.acheck(scope):
            by_close = self.refuse_by_close and scope["type"] == "websocket"
            if by_close:
                await receive()  # the client's handshake
            status, reason = self.permission.refusal(scope)
            await refuse_entry(scope, send, status, reason, sender=type(self), by_close=by_close)
            return None
        return await self.inner(scope, receive, send)

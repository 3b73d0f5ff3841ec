"""The base of what wraps an application: see the scope, pass it on, leave the caller's alone."""

from functools import cached_property
from typing import Any

from ._runtime.nesting import routes_further
from ._runtime.types import ASGIApplication, Receive, Scope, Send

__all__ = ["BaseMiddleware"]


class BaseMiddleware:
    """Wraps an ASGI application and hands it a copy of the scope.

    Subclass it, override ``__call__``, put what the application needs into the scope and call
    ``super().__call__(scope, receive, send)``. What an inner middleware adds to its copy of the
    scope is never seen by an outer one.

    Args:
        inner: The application to wrap. A subclass with an ``__init__`` of its own may as well set
            ``self.inner`` itself.
    """

    inner: ASGIApplication

    def __init__(self, inner: ASGIApplication) -> None:
        self.inner = inner

    @cached_property
    def _path_routing(self) -> bool:
        """Whether a router is inside, so that an outer router matches only a prefix of the path.

        Not a plain property: middleware of other packages assigns this attribute.
        """
        return routes_further(self.inner)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Call the inner application with a copy of ``scope``."""
        return await self.inner(dict(scope), receive, send)

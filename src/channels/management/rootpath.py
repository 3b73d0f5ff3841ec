"""The setting ``FORCE_SCRIPT_NAME`` under the development server."""

from channels._runtime.types import ASGIApplication, Receive, Scope, Send

__all__ = ["RootPath"]


class RootPath:
    """Wraps an ASGI application and tells it that it is served below a path.

    A request may name the path with the root path, as the URLs that Django makes do, or without
    it, as a proxy would that strips it. The application finds it in the path either way, as the
    ASGI specification says.

    Args:
        application: what to wrap.
        root_path: such as ``"/base"``.
    """

    def __init__(self, application: ASGIApplication, root_path: str) -> None:
        self.application = application
        self.root_path = "/" + root_path.strip("/")

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if "path" in scope:
            path: str = scope["path"]
            if not f"{path}/".startswith(f"{self.root_path}/"):
                path = self.root_path + path
            scope = {**scope, "root_path": self.root_path, "path": path}
        await self.application(scope, receive, send)

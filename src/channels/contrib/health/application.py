"""Health as an ASGI application, in front of another one."""

from collections.abc import Awaitable, Callable
from typing import Any

from ..._runtime.reports import Report, answer
from ..._runtime.scopes import below_root
from ..._runtime.types import ASGIApplication, Receive, Scope, Send
from ...routing import ProtocolTypeRouter
from .monitor import Health
from .probing import InvalidHealthCheck

__all__ = ["HealthApplication"]


class HealthApplication:
    """Answers two paths over HTTP, and passes everything else on.

    It stands before Django's middleware: whoever asks need not know a host of ``ALLOWED_HOSTS``,
    is not redirected to HTTPS, and reaches no session.

    Args:
        inner: what everything else is for. Without one, it is answered with 404.
        health: what is checked; by default all channel layers and nothing else.
        live_path: the whole path of liveness, below ``root_path``. One slash more or less at its
            end makes no difference.
        ready_path: that of readiness.

    Raises:
        InvalidHealthCheck: at construction, when a path does not start with a slash.
    """

    def __init__(
        self,
        inner: ASGIApplication | None = None,
        health: Health | None = None,
        *,
        live_path: str = "/healthz",
        ready_path: str = "/readyz",
    ) -> None:
        self.inner: ASGIApplication = ProtocolTypeRouter({}) if inner is None else inner
        health = health or Health()
        self._paths: dict[str, Callable[[], Awaitable[Report]]] = {
            _whole(live_path): health.liveness,
            _whole(ready_path): health.readiness,
        }

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Answer, or run the inner application."""
        ask = self._paths.get(below_root(scope)) if scope["type"] == "http" else None
        if ask is None:
            return await self.inner(scope, receive, send)
        status, headers, body = await answer(scope["method"], ask)
        pairs = [(k.lower().encode("ascii"), v.encode("ascii")) for k, v in headers.items()]
        await send({"type": "http.response.start", "status": status, "headers": pairs})
        return await send({"type": "http.response.body", "body": body})


def _whole(path: str) -> str:
    if not path.startswith("/"):
        raise InvalidHealthCheck(f"A path must start with a slash; {path!r} does not.")
    return path.rstrip("/")

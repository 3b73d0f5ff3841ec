"""How long an application may take to answer the development server."""

import asyncio
import contextlib

from channels._runtime.denial import deny
from channels._runtime.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["TimeLimits"]


class TimeLimits:
    """Wraps an ASGI application and cancels it when it takes too long.

    Args:
        application: what to wrap.
        response: seconds from an HTTP request to the end of its response; None for no limit.
        handshake: seconds until a WebSocket must be accepted or refused; None for no limit.

    A client that has had no answer by then is refused with 503, and one log line says why.
    """

    def __init__(
        self, application: ASGIApplication, *, response: float | None, handshake: float | None
    ) -> None:
        self.application = application
        self.seconds = {"http": response, "websocket": handshake}

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection within its limit."""
        seconds = self.seconds.get(scope["type"])
        if seconds is None:
            await self.application(scope, receive, send)
            return
        in_time = asyncio.Event()
        answered = late = False

        async def observe(message: Message) -> None:
            nonlocal answered
            if late:
                return
            answered = True
            if scope["type"] == "websocket":
                in_time.set()
            await send(message)

        async def serve() -> None:
            try:
                await self.application(scope, receive, observe)
            finally:
                in_time.set()

        # A task of its own, because one that waits for a thread cannot be cancelled at once.
        serving = asyncio.create_task(serve())
        try:
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(in_time.wait(), seconds)
            if in_time.is_set():
                await serving
                return
            late = True
            if not answered:
                reason = f"the application has not answered within {seconds:g} s"
                await deny(scope, send, status=503, reason=reason, sender=type(self))
        finally:
            if not serving.done():
                serving.cancel()
                await asyncio.wait([serving])

"""How long an application may take to answer the development server."""

import asyncio

from channels._runtime.denial import deny
from channels._runtime.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["TimeLimits"]


class TimeLimits:
    """Wraps an ASGI application and cancels it when it takes too long.

    Args:
        application: what to wrap.
        response: seconds from an HTTP request to the end of its response; None for no limit.
        handshake: seconds until a WebSocket must be accepted or refused; None for no limit.

    A client that has had no answer by then gets 503 (for a WebSocket: is refused), and one log
    line says why.
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
        answered = False

        async def observe(message: Message) -> None:
            nonlocal answered
            answered = True
            if scope["type"] == "websocket" and not limit.expired():
                limit.reschedule(None)
            await send(message)

        try:
            async with asyncio.timeout(seconds) as limit:
                await self.application(scope, receive, observe)
        except TimeoutError:
            if not limit.expired():
                raise  # the application's own
            if not answered:
                reason = f"the application has not answered within {seconds:g} s"
                await deny(scope, send, status=503, reason=reason, sender=type(self))

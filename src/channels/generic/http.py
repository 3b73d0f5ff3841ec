"""A consumer for HTTP requests whose responses live long: streams and long polls."""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from .._runtime.types import Message
from ..consumer import AsyncConsumer
from ..db import aclose_old_connections  # tests replace it here, to keep what is open
from ..exceptions import ChannelsError, StopConsumer
from ._messages import as_header_pairs

__all__ = ["AsyncHttpConsumer", "aclose_old_connections"]


class AsyncHttpConsumer(AsyncConsumer):
    """An HTTP request, handled by a coroutine.

    Override :meth:`handle`. The response may go on after it returns: as long as the last
    :meth:`send_body` said ``more_body=True``, the connection stays open and other handlers can
    send the rest, for instance when a message of the channel layer comes (a long poll).
    """

    _protocol_handlers: ClassVar[frozenset[str]] = frozenset({"http_disconnect", "http_request"})

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The parts of the request's body.
        self.body: list[bytes] = []

    # Whether anything was sent at all.
    _responded = False

    async def send_headers(
        self,
        *,
        status: int = 200,
        headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None" = None,
    ) -> None:
        """Start the response. Servers send this with the first part of the body.

        Args:
            status: the HTTP status.
            headers: a dict or pairs; names and values are bytes, or strings of Latin-1.
        """
        await self.send(
            {"type": "http.response.start", "status": status, "headers": as_header_pairs(headers)}
        )

    async def send_body(self, body: bytes, *, more_body: bool = False) -> None:
        """Send a part of the body, the last one unless ``more_body``.

        Raises:
            TypeError: ``body`` is not bytes.
        """
        if not isinstance(body, bytes):
            raise TypeError(f"Body is not bytes but {type(body).__name__}; encode it first")
        await self.send({"type": "http.response.body", "body": body, "more_body": more_body})

    async def send_response(self, status: int, body: bytes, **kwargs: Any) -> None:
        """Send a whole response; ``kwargs`` are those of :meth:`send_headers`."""
        await self.send_headers(status=status, **kwargs)
        await self.send_body(body)

    async def send(self, message: Message) -> None:
        """Send an ASGI message to the client."""
        self._responded = True
        await super().send(message)

    async def handle(self, body: bytes) -> None:
        """Called with the whole body of the request. Override it, and send a response.

        The request itself is in ``self.scope``.
        """
        raise NotImplementedError("Subclasses of AsyncHttpConsumer must provide a handle() method.")

    async def disconnect(self) -> None:
        """Called exactly once when the response is complete or the client gone. Override it."""

    async def http_request(self, message: Message) -> None:
        """Collect the body; when it is complete, call :meth:`handle`."""
        if "body" in message:
            self.body.append(message["body"])
        if not message.get("more_body"):
            await self.handle(b"".join(self.body))
            if not self._responded:
                raise ChannelsError(
                    f"{type(self).__qualname__}.handle() returned without starting a response; "
                    "call send_response(), or send_headers() and send_body()"
                )

    async def http_disconnect(self, message: Message) -> None:
        """Call :meth:`disconnect`."""
        await self.disconnect()
        raise StopConsumer

"""A consumer for HTTP requests whose responses live long: streams and long polls."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from django.conf import settings

from .._runtime import timers
from .._runtime.bodies import LAST_WORD, LINGER, announced_length, collect, refuse
from .._runtime.denial import deny
from .._runtime.kinds import refuse_plain
from .._runtime.types import Message, Receive, Scope, Send, any_name
from ..consumer import AsyncConsumer, framework
from ..db import aclose_old_connections  # tests replace it here, to keep what is open
from ..exceptions import ChannelsError, StopConsumer
from ._frames import as_header_pairs
from ._last import dispatch_last

__all__ = ["AsyncHttpConsumer", "aclose_old_connections"]


class _UploadLimit:
    """The setting as it is now: tests change it."""

    def __get__(self, instance: object, owner: type | None = None) -> int | None:
        limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
        return limit


@framework("http_disconnect", "http_request")
class AsyncHttpConsumer(AsyncConsumer):
    """An HTTP request, handled by a coroutine.

    Override :meth:`handle`. The response may go on after it returns: as long as the last
    :meth:`send_body` said ``more_body=True``, the connection stays open and other handlers can
    send the rest, for instance when a message of the channel layer comes (a long poll).
    """

    #: How many bytes of a body to collect; a request with more is refused with 413. None for any
    #: number. By default what the setting ``DATA_UPLOAD_MAX_MEMORY_SIZE`` says.
    max_body_size: int | None = cast("int | None", _UploadLimit())

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The parts of the request's body.
        self.body: list[bytes] = []

    # Whether anything was sent at all.
    _responded = False
    # Bytes in `body`, or more.
    _collected = 0
    # The body was too large: what still comes is not kept.
    _refused = False
    _lingering: timers.Timer | None = None
    _ending: "asyncio.Future[None] | None" = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, unless its client says that it is too large."""
        limit = self.max_body_size
        # A subclass that takes the parts as they come need not hold them.
        collects = getattr(self.http_request, "__func__", None) is AsyncHttpConsumer.http_request
        if limit is not None and collects and announced_length(scope) > limit:
            reason = self._too_large(limit)
            await refuse(scope, receive, send, reason=reason, sender=type(self))
            return
        await super().__call__(scope, receive, send)

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

    @any_name
    async def handle(self, body: bytes) -> None:
        """Called with the whole body of the request. Override it, and send a response.

        The request itself is in ``self.scope``.
        """
        raise NotImplementedError("Subclasses of AsyncHttpConsumer must provide a handle() method.")

    async def disconnect(self) -> None:
        """Called exactly once when the response is complete or the client gone. Override it."""

    @any_name
    async def http_request(self, message: Any) -> None:
        """Collect the body; when it is complete, call :meth:`handle`.

        A body of more than :attr:`max_body_size` bytes is refused. Override this method to take
        the parts of any body as they come.
        """
        more_body = bool(message.get("more_body"))
        if self._refused:
            if not more_body:
                await self._end_refusal()
            return
        part = message.get("body", b"")
        collect(self.body, part)
        self._collected += len(part)
        limit = self.max_body_size
        if limit is not None and self._collected > limit and self._holds_more_than(limit):
            await self._refuse(limit, more_body=more_body)
        elif not more_body:
            try:
                await self.handle(b"".join(self.body))
            except TypeError as error:
                refuse_plain(self, "handle", error)
                raise
            if not self._responded:
                raise ChannelsError(
                    f"{type(self).__qualname__}.handle() returned without starting a response; "
                    "call send_response(), or send_headers() and send_body()"
                )

    def _holds_more_than(self, limit: int) -> bool:
        """Whether the parts are still here: a subclass may have taken some of them away."""
        self._collected = sum(map(len, self.body))
        return self._collected > limit

    def _too_large(self, limit: int) -> str:
        return (
            f"the body has more than {limit} bytes; a higher max_body_size of "
            f"{type(self).__qualname__}, or setting DATA_UPLOAD_MAX_MEMORY_SIZE, takes more"
        )

    async def _refuse(self, limit: int, *, more_body: bool) -> None:
        """Answer with 413; as long as the client goes on sending, read that, for a while."""
        self._refused = True
        self.body.clear()
        await deny(
            self.scope,
            super().send,
            status=413,
            reason=self._too_large(limit),
            sender=type(self),
            unread=more_body,
        )
        if more_body:
            self._lingering = timers.Timer(LINGER, self._end_soon)

    def _end_soon(self) -> None:
        self._ending = asyncio.ensure_future(self._end_refusal())

    async def _end_refusal(self) -> None:
        self._stop_lingering()
        with contextlib.suppress(Exception):  # the client has its answer
            await super().send(dict(LAST_WORD))

    def _stop_lingering(self) -> None:
        if self._lingering is not None:
            self._lingering.cancel()
            self._lingering = None

    async def _dispatch_last(self, message: Message) -> None:
        await dispatch_last(self, message)

    @any_name
    async def http_disconnect(self, message: Any) -> None:
        """Call :meth:`disconnect`."""
        self._stop_lingering()
        try:
            await self.disconnect()
        except TypeError as error:
            refuse_plain(self, "disconnect", error)
            raise
        raise StopConsumer

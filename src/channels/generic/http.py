"""A consumer for HTTP requests whose responses live long: streams and long polls."""

import asyncio
import contextlib
from collections.abc import Iterable, Mapping
from typing import Any, cast

from django.conf import settings

from .._runtime import clock, timers
from .._runtime.bodies import (
    LINGER,
    announced_length,
    announces_body,
    collect,
    last_word,
    refuse,
)
from .._runtime.denial import deny
from .._runtime.faults import attempt
from .._runtime.kinds import refuse_plain
from .._runtime.scopes import from_server
from .._runtime.types import Message, Receive, Scope, Send, any_name
from ..consumer import AsyncConsumer, framework
from ..db import aclose_old_connections  # tests replace it here, to keep what is open
from ..exceptions import ChannelsError, StopConsumer
from ._frames import as_header_pairs
from ._last import dispatch_last

__all__ = ["AsyncHttpConsumer", "aclose_old_connections"]


# Bytes of a body for which a client gets one second more. A modem is faster; who is slower holds
# connections for its own sake (Apache's mod_reqtimeout has this number).
_SLOWEST = 500


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

    #: Seconds within which the whole body has to come, and one more for each 500 bytes of it,
    #: before the request is refused with 408; None for as long as it takes.
    body_timeout: float | None = 60.0

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        #: The parts of the request's body.
        self.body: list[bytes] = []

    # Whether anything was sent at all.
    _channels_responded = False
    # Bytes in `body`, or more.
    _channels_collected = 0
    # The status with which the body was refused: what still comes is not kept.
    _channels_refused: int | None = None
    # Until the body has come; and when it began to.
    _channels_reading: timers.Timer | None = None
    _channels_begun = 0.0
    _channels_lingering: timers.Timer | None = None
    _channels_ending: "asyncio.Future[Any] | None" = None

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Handle one request, unless its client says that it is too large."""
        vars(self).setdefault("body", [])  # a subclass may not call our __init__()
        limit = self.max_body_size
        # A subclass that takes the parts as they come need not hold them.
        collects = getattr(self.http_request, "__func__", None) is AsyncHttpConsumer.http_request
        if limit is not None and collects and announced_length(scope) > limit:
            reason = self._channels_too_large(limit)
            await refuse(scope, receive, send, reason=reason, sender=type(self))
            return
        if self.body_timeout is not None and collects and announces_body(scope):
            self._channels_begun = clock.now()
            if from_server(scope):
                self._channels_reading = timers.Timer(
                    self.body_timeout, self._channels_is_slow, self.body_timeout
                )
        try:
            await super().__call__(scope, receive, send)
        finally:
            self._channels_stop_reading()

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
        self._channels_responded = True
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
        if not more_body:
            self._channels_stop_reading()
        if self._channels_refused is not None:
            if not more_body:
                await self._channels_end_refusal()
            return
        part = message.get("body", b"")
        collect(self.body, part)
        self._channels_collected += len(part)
        limit = self.max_body_size
        if (
            limit is not None
            and self._channels_collected > limit
            and self._channels_holds_more_than(limit)
        ):
            await self._channels_refuse(413, self._channels_too_large(limit), more_body=more_body)
        elif not more_body:
            try:
                await self.handle(b"".join(self.body))
            except TypeError as error:
                refuse_plain(self, "handle", error)
                raise
            if not self._channels_responded:
                raise ChannelsError(
                    f"{type(self).__qualname__}.handle() returned without starting a response; "
                    "call send_response(), or send_headers() and send_body()"
                )

    def _channels_holds_more_than(self, limit: int) -> bool:
        """Whether the parts are still here: a subclass may have taken some of them away."""
        self._channels_collected = sum(map(len, self.body))
        return self._channels_collected > limit

    def _channels_too_large(self, limit: int) -> str:
        return (
            f"the body has more than {limit} bytes; a higher max_body_size of "
            f"{type(self).__qualname__}, or setting DATA_UPLOAD_MAX_MEMORY_SIZE, takes more"
        )

    def _channels_is_slow(self, seconds: float) -> None:
        """The body is late, unless enough of it has come meanwhile."""
        left = self._channels_begun + seconds + self._channels_collected / _SLOWEST - clock.now()
        if left > 0:
            self._channels_reading = timers.Timer(left, self._channels_is_slow, seconds)
            return
        self._channels_reading = None
        reason = (
            f"the body has not come within {seconds:g} s and one more for each {_SLOWEST} bytes; "
            f"a higher body_timeout of {type(self).__qualname__} waits longer"
        )

        async def refuse_slow() -> None:
            if self._channels_refused is None:  # pragma: no branch - both at the same moment
                await self._channels_refuse(408, reason, more_body=True)

        self._channels_ending = asyncio.ensure_future(attempt(self, self.scope, refuse_slow))

    def _channels_stop_reading(self) -> None:
        if self._channels_reading is not None:
            self._channels_reading.cancel()
            self._channels_reading = None

    async def _channels_refuse(self, status: int, reason: str, *, more_body: bool) -> None:
        """Refuse the body; as long as the client goes on sending, read that, for a while."""
        self._channels_refused = status
        self._channels_stop_reading()
        self.body.clear()
        await deny(
            self.scope,
            super().send,
            status=status,
            reason=reason,
            sender=type(self),
            unread=more_body,
        )
        if more_body:
            self._channels_lingering = timers.Timer(LINGER, self._channels_end_soon)

    def _channels_end_soon(self) -> None:
        self._channels_ending = asyncio.ensure_future(self._channels_end_refusal())

    async def _channels_end_refusal(self) -> None:
        self._channels_stop_lingering()
        with contextlib.suppress(Exception):  # the client has its answer
            await super().send(last_word(self._channels_refused or 413))

    def _channels_stop_lingering(self) -> None:
        if self._channels_lingering is not None:
            self._channels_lingering.cancel()
            self._channels_lingering = None

    async def _channels_dispatch_last(self, message: Message) -> None:
        await dispatch_last(self, message)

    @any_name
    async def http_disconnect(self, message: Any) -> None:
        """Call :meth:`disconnect`."""
        self._channels_stop_lingering()
        try:
            await self.disconnect()
        except TypeError as error:
            refuse_plain(self, "disconnect", error)
            raise
        raise StopConsumer

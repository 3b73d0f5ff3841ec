"""Consumers for server-sent events: responses that go on, which browsers read with EventSource.

What the sync and the async class share is in ``_events.py`` and in :class:`_EventStream`.
"""

from collections.abc import Iterable, Mapping
from typing import Any, ClassVar

from asgiref.sync import async_to_sync

from .._runtime.connection import Connection
from .._runtime.denial import deny
from .._runtime.kinds import call, refuse_plain
from .._runtime.types import Message, Receive, Scope, Send, any_name
from ..consumer import AsyncConsumer, ConsumerApplication, SyncConsumer, framework
from ..exceptions import (
    AcceptConnection,
    ChannelsError,
    DenyConnection,
    StopConsumer,
)
from ..security.websocket import OriginPattern, OriginValidator
from ._bridge import header
from ._events import COMMENT, HEADERS, Comments, encode_event, encode_retry
from ._frames import as_header_pairs, encode_json, unencodable
from ._groups import join_groups, leave_groups, own_groups
from ._last import dispatch_last
from ._origins import cross_origin_headers, origin_refusal, origin_validator

__all__ = ["AsyncSseConsumer", "SseConsumer"]

_EVENTS = ("http_disconnect", "http_request")


class _EventStream(AsyncConsumer):
    """What both classes have: who may come in, what is sent, and the comments meanwhile."""

    #: Groups to join before ``connect()``; they are left when the stream has ended.
    groups: Any = None

    #: Seconds between two comments, which keep proxies from cutting a silent connection; None for
    #: no comments. nginx cuts after 60 s of silence.
    keep_alive: float | None = 15.0

    #: Milliseconds after which a browser comes back when the stream has ended; None leaves that to
    #: the browser (some seconds).
    retry: int | None = None

    #: Pages of other origins that may read the stream, as for
    #: :class:`~channels.security.websocket.OriginValidator`; None for those of ``ALLOWED_HOSTS``.
    allowed_origins: Iterable[OriginPattern] | None = None

    _channels_validator: ClassVar[OriginValidator | None] = None

    def __init__(self, *args: Any, **kwargs: Any) -> None:
        own_groups(self)
        #: The id of the last event that the browser had when its connection broke; None at first.
        self.last_event_id: str | None = None
        self._channels_begun = self._channels_accepted = self._channels_closed = False

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> ConsumerApplication[Any]:
        """An ASGI application that makes one consumer, with ``initkwargs``, per request."""
        cls._channels_validator = origin_validator(cls.allowed_origins)
        return super().as_asgi(**initkwargs)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request, if its method and the page that it comes from are allowed."""
        sender = type(self)
        if scope["method"] != "GET":
            reason = f"{sender.__qualname__} takes GET only, and this is {scope['method']}"
            headers = [(b"allow", b"GET")]
            await deny(scope, send, status=405, reason=reason, sender=sender, headers=headers)
            return
        refusal = origin_refusal(
            self._channels_validator or origin_validator(self.allowed_origins), scope
        )
        if refusal is not None:
            await deny(scope, send, status=403, reason=refusal, sender=sender)
            return
        self.last_event_id = _last_event_id(scope)
        comments = Comments(self.keep_alive, self._channels_comment)
        comments.start()
        try:
            await super().__call__(scope, receive, send)
        finally:
            comments.stop()

    def _channels_make_base_send(self, connection: Connection) -> Any:
        self._channels_send_from_loop = connection.send
        return super()._channels_make_base_send(connection)

    async def _channels_comment(self, body: bytes) -> None:
        if self._channels_accepted and not self._channels_closed:
            await self._channels_send_from_loop(_body(body))

    def _channels_start(
        self, headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None"
    ) -> list[Message]:
        self._channels_accepted = True
        first = COMMENT if self.retry is None else encode_retry(self.retry)
        pairs = [*HEADERS, *cross_origin_headers(self.scope), *as_header_pairs(headers)]
        return [{"type": "http.response.start", "status": 200, "headers": pairs}, _body(first)]

    def _channels_event(self, data: str, event: str | None, id: str | None) -> Message:  # noqa: A002
        if not self._channels_accepted:
            raise ChannelsError(
                f"{type(self).__qualname__} sends an event before it has called accept()"
            )
        return _body(encode_event(data, event, id))

    def _channels_end(self, status: int) -> list[Message]:
        """The last messages: the end of the stream, or a refusal."""
        self._channels_closed = True
        if self._channels_accepted:
            return [_body(b"", more=False)]
        return [
            {"type": "http.response.start", "status": status, "headers": []},
            _body(b"", more=False),
        ]

    def _channels_require_answer(self) -> None:
        if not (self._channels_accepted or self._channels_closed):
            raise ChannelsError(
                f"{type(self).__qualname__}.connect() has neither accepted the client, with "
                "accept(), nor refused it, with close() or DenyConnection"
            )

    async def _channels_dispatch_last(self, message: Message) -> None:
        await dispatch_last(self, message)


@framework(*_EVENTS)
class AsyncSseConsumer(_EventStream):
    """A stream of server-sent events, sent by coroutines.

    Override :meth:`connect` and :meth:`disconnect`, and write handlers for messages of the channel
    layer, which call :meth:`send_event`.
    """

    @any_name
    async def http_request(self, message: Any) -> None:
        """Join :attr:`groups` and call :meth:`connect`."""
        if self._channels_begun:
            return  # the rest of a body, which has no meaning
        self._channels_begun = True
        if self.groups:
            await join_groups(self)
        try:
            await self.connect()
        except AcceptConnection:
            await self.accept()
        except DenyConnection:
            await self.close()
        except TypeError as error:
            refuse_plain(self, "connect", error)
            raise
        self._channels_require_answer()

    async def connect(self) -> None:
        """Called when a client wants to read the stream. Accepts it.

        Override it to decide: call :meth:`accept` or :meth:`close`, or raise
        :exc:`~channels.exceptions.AcceptConnection` or :exc:`~channels.exceptions.DenyConnection`.
        :attr:`last_event_id` says where a client that comes back was.
        """
        await self.accept()

    async def accept(
        self, headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None" = None
    ) -> None:
        """Begin the stream, with more headers if there are any."""
        for message in self._channels_start(headers):
            await self.send(message)

    async def send_event(
        self,
        data: str,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002 - its name
    ) -> None:
        """Send one event.

        Args:
            data: its text, of any number of lines.
            event: its type, for ``addEventListener``; ``message`` if there is none.
            id: what the browser tells when it comes back after this event.

        Raises:
            ValueError: ``event`` or ``id`` has a line break or a NUL.
            ChannelsError: the client has not been accepted.
        """
        await self.send(self._channels_event(data, event, id))

    async def send_json(
        self,
        content: Any,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002 - its name
    ) -> None:
        """Send one event whose text is ``content`` as JSON. See :meth:`send_event`."""
        await self.send_event(_json(content), event=event, id=id)

    async def close(self, status: int = 403) -> None:
        """End the stream, or refuse a client that was not accepted.

        A browser comes back when a stream has ended. It does not after a refusal, nor after the
        status 204.

        Args:
            status: the HTTP status of a refusal.
        """
        for message in self._channels_end(status):
            await self.send(message)

    @any_name
    async def http_disconnect(self, message: Any) -> None:
        """Leave :attr:`groups` and call :meth:`disconnect`."""
        if self.groups:
            await leave_groups(self)
        try:
            await self.disconnect()
        except TypeError as error:
            refuse_plain(self, "disconnect", error)
            raise
        raise StopConsumer

    async def disconnect(self) -> None:
        """Called exactly once when the stream has ended, for whatever reason. Override it."""


@framework(*_EVENTS)
class SseConsumer(_EventStream, SyncConsumer):
    """A stream of server-sent events, sent by plain methods that run in a thread.

    Override :meth:`connect` and :meth:`disconnect`, and write handlers for messages of the channel
    layer, which call :meth:`send_event`.
    """

    @any_name
    def http_request(self, message: Any) -> None:
        """Join :attr:`groups` and call :meth:`connect`."""
        if self._channels_begun:
            return  # the rest of a body, which has no meaning
        self._channels_begun = True
        if self.groups:
            async_to_sync(join_groups)(self)
        try:
            call(self, "connect")
        except AcceptConnection:
            self.accept()
        except DenyConnection:
            self.close()
        self._channels_require_answer()

    def connect(self) -> None:
        """Called when a client wants to read the stream. Accepts it.

        Override it to decide: call :meth:`accept` or :meth:`close`, or raise
        :exc:`~channels.exceptions.AcceptConnection` or :exc:`~channels.exceptions.DenyConnection`.
        :attr:`last_event_id` says where a client that comes back was.
        """
        self.accept()

    def accept(
        self, headers: "Mapping[Any, Any] | Iterable[tuple[Any, Any]] | None" = None
    ) -> None:
        """Begin the stream, with more headers if there are any."""
        for message in self._channels_start(headers):
            self.send(message)

    def send_event(
        self,
        data: str,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002 - its name
    ) -> None:
        """Send one event.

        Args:
            data: its text, of any number of lines.
            event: its type, for ``addEventListener``; ``message`` if there is none.
            id: what the browser tells when it comes back after this event.

        Raises:
            ValueError: ``event`` or ``id`` has a line break or a NUL.
            ChannelsError: the client has not been accepted.
        """
        self.send(self._channels_event(data, event, id))

    def send_json(
        self,
        content: Any,
        *,
        event: str | None = None,
        id: str | None = None,  # noqa: A002 - its name
    ) -> None:
        """Send one event whose text is ``content`` as JSON. See :meth:`send_event`."""
        self.send_event(_json(content), event=event, id=id)

    def close(self, status: int = 403) -> None:
        """End the stream, or refuse a client that was not accepted.

        A browser comes back when a stream has ended. It does not after a refusal, nor after the
        status 204.

        Args:
            status: the HTTP status of a refusal.
        """
        for message in self._channels_end(status):
            self.send(message)

    @any_name
    def http_disconnect(self, message: Any) -> None:
        """Leave :attr:`groups` and call :meth:`disconnect`."""
        if self.groups:
            async_to_sync(leave_groups)(self)
        call(self, "disconnect")
        raise StopConsumer

    def disconnect(self) -> None:
        """Called exactly once when the stream has ended, for whatever reason. Override it."""


def _body(body: bytes, *, more: bool = True) -> Message:
    return {"type": "http.response.body", "body": body, "more_body": more}


def _json(content: Any) -> str:
    try:
        return encode_json(content)
    except ValueError as error:
        raise unencodable(error) from None


def _last_event_id(scope: Scope) -> str | None:
    value = header(scope, b"last-event-id")
    return value.decode(errors="replace") if value else None

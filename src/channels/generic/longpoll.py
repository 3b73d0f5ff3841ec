"""Consumers whose clients poll: each request is answered when there is something to tell.

For clients that can have neither WebSockets nor server-sent events: old devices, scripts, proxies
that buffer. The consumer lives on between two requests, as long as the client comes back in time.
"""

from collections.abc import Iterable
from typing import Any

from .._runtime.denial import deny, respond
from .._runtime.types import Receive, Scope, Send
from ..consumer import ConsumerApplication, framework
from ..security.websocket import OriginPattern
from ._bridge import FRAMES, Malformed, deliver, frames_of, layer_for, read_body
from ._origins import origin_refusal, origin_validator
from ._polls import (
    PollRequest,
    PollSession,
    count_sessions,
    cursor_of,
    frame_of,
    has_ended,
    is_owner,
    read_cursor,
)
from .websocket import AsyncJsonWebsocketConsumer, JsonWebsocketConsumer

__all__ = ["AsyncLongPollConsumer", "LongPollConsumer"]


class _LongPoll:
    """What both classes have: how long to wait, and who may ask."""

    #: Seconds after which a request is answered with 204 when there is nothing to tell. Proxies cut
    #: requests that wait longer than some 60 s.
    poll_timeout: float = 25.0

    #: Seconds within which a client has to come back before its consumer is disconnected.
    session_timeout: float = 30.0

    #: Sessions of all classes in one process beyond which new clients get 503. A session costs its
    #: client one request, unlike a connection, which the server's limits count.
    max_sessions: int = 10_000

    #: Pages of other origins that may poll, as for
    #: :class:`~channels.security.websocket.OriginValidator`; None for those of ``ALLOWED_HOSTS``.
    allowed_origins: Iterable[OriginPattern] | None = None

    @classmethod
    def as_asgi(cls, **initkwargs: Any) -> Any:
        """An ASGI application for HTTP: it makes one consumer, with ``initkwargs``, per client."""
        application: Any = super().as_asgi(**initkwargs)  # type: ignore[misc]
        return _Polling(cls, application)


@framework()
class AsyncLongPollConsumer(_LongPoll, AsyncJsonWebsocketConsumer):
    """What a client polls for, with coroutines.

    It is written like a consumer of WebSockets: :meth:`connect`, :meth:`receive_json`,
    :meth:`disconnect`, and :meth:`send_json` in handlers of layer messages. A client begins with a
    GET request, and goes on with ``?cursor=`` of the answer before. What it was sent stays here
    until a request with the next cursor has come, so that no lost answer loses a message.
    """


@framework()
class LongPollConsumer(_LongPoll, JsonWebsocketConsumer):
    """The same with plain methods, which run in a thread."""


class _Polling:
    """The application of one class.

    Args:
        consumer_class: the consumers'.
        application: runs a consumer for the scope of a WebSocket.
    """

    def __init__(self, consumer_class: Any, application: ConsumerApplication[Any]) -> None:
        self.consumer_class = consumer_class
        self.consumer_initkwargs = application.consumer_initkwargs
        self._application = application
        self._validator = origin_validator(consumer_class.allowed_origins)

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one request."""
        cls = self.consumer_class
        if scope["method"] not in {"GET", "POST"}:
            reason = f"{cls.__qualname__} takes GET and POST, and this is {scope['method']}"
            allow = [(b"allow", b"GET, POST")]
            await deny(scope, send, status=405, reason=reason, sender=cls, headers=allow)
            return
        refusal = origin_refusal(self._validator, scope)
        if refusal is not None:
            await deny(scope, send, status=403, reason=refusal, sender=cls)
            return
        body = await read_body(scope, receive, send, cls)
        if body is None:
            return
        layer = layer_for(cls.channel_layer_alias)
        cursor = cursor_of(scope)
        if not cursor and scope["method"] == "GET":
            if count_sessions() < cls.max_sessions:
                await PollSession(scope, cls).begin(self._application, layer, send)
            else:
                reason = (
                    f"this process has {cls.max_sessions} sessions of clients that poll already"
                )
                again = [(b"retry-after", b"5")]
                await deny(scope, send, status=503, reason=reason, sender=cls, headers=again)
            return
        try:
            after, (process, polls, frames, owner) = read_cursor(cursor)
            if scope["method"] == "POST":
                message = {"type": FRAMES, "events": list(frames_of(frame_of(body)))}
        except Malformed:
            await respond(scope, send, status=400)
            return
        if not is_owner(scope, owner):
            reason = "its cursor belongs to another user"
            await deny(scope, send, status=410, reason=reason, sender=cls)
        elif has_ended(process, polls):
            await respond(scope, send, status=410)
        elif scope["method"] == "POST":
            await deliver(layer, frames, message, scope, send)
        else:
            await PollRequest(scope, receive, send, cls, layer).poll(cursor, polls, after)

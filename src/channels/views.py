"""Streams of server-sent events as responses of plain Django views, without a consumer."""

import asyncio
import logging
from collections.abc import AsyncIterator, Callable
from typing import Any, NamedTuple, TypeAlias

from django.core.handlers.asgi import ASGIRequest
from django.http import HttpRequest, StreamingHttpResponse

from . import DEFAULT_CHANNEL_LAYER
from ._runtime import clock, draining, lograte, timers
from ._runtime.carried import strip
from ._runtime.connections import connections
from ._runtime.layer_events import DISCONNECT
from ._runtime.logtext import printable
from ._runtime.types import Scope
from .exceptions import ChannelsError, InvalidChannelLayerError
from .generic._events import COMMENT, HEADERS, encode_event
from .generic._frames import encode_json
from .layers import get_channel_layer
from .layers.third_party import adapt

__all__ = ["Event", "as_event", "group_event_stream"]

logger = logging.getLogger("channels.views")


class Event(NamedTuple):
    """One event, as a browser gets it.

    Attributes:
        data: its text.
        event: its type; ``message`` if there is none.
        id: what a browser sends as ``Last-Event-ID`` when it comes back after this event.
    """

    data: str
    event: str | None = None
    id: str | None = None


Encode: TypeAlias = Callable[[dict[str, Any]], Event | None]


def as_event(message: dict[str, Any]) -> Event:
    """An event with the type of a layer message, and the rest of it as JSON."""
    content = {key: value for key, value in message.items() if key != "type"}
    return Event(encode_json(content), message["type"])


def group_event_stream(
    request: HttpRequest,
    *groups: str,
    encode: Encode = as_event,
    keep_alive: float = 15.0,
    channel_layer_alias: str = DEFAULT_CHANNEL_LAYER,
) -> StreamingHttpResponse:
    """A response that sends every message of some groups as an event, until the client leaves.

    The view has decided before that the client may read it::

        @login_required
        def news(request):
            return group_event_stream(request, "news")

    Args:
        request: the view's.
        *groups: the groups of the channel layer.
        encode: makes an event of a message, or None for a message that the client is not to get.
            By default the type is that of the message, and the text is the rest of it as JSON. A
            message of the type ``layer.gap`` says that others may have been lost.
        keep_alive: seconds between two comments, which keep proxies from cutting a silent
            connection.
        channel_layer_alias: which entry of ``CHANNEL_LAYERS`` to use.

    Raises:
        ChannelsError: the request did not come over ASGI, or there is no channel layer.
    """
    if not isinstance(request, ASGIRequest):
        raise ChannelsError(
            "A stream of events needs an ASGI server, and this request came over WSGI: each stream "
            "would hold a worker for as long as its client stays"
        )
    layer: Any = get_channel_layer(channel_layer_alias)
    if layer is None:
        raise InvalidChannelLayerError(f"There is no channel layer {channel_layer_alias!r}")
    stream = _Stream(request, layer, groups, encode, keep_alive)
    response = StreamingHttpResponse(stream.run(), content_type="text/event-stream")
    for name, value in HEADERS:
        response.headers[name.decode()] = value.decode()
    return response


class _Stream:
    """One client of such a view."""

    def __init__(
        self,
        request: ASGIRequest,
        layer: Any,
        groups: tuple[str, ...],
        encode: Encode,
        keep_alive: float,
    ) -> None:
        #: As the server made it, with the user and the session of the request.
        self.scope = _scope_of(request)
        self.channel_name: str | None = None
        self.opened_at = clock.now()
        self._layer = layer
        self._groups = groups
        self._encode = encode
        self._keep_alive = keep_alive
        self._awake = asyncio.Event()
        self._over = False

    is_event_stream = True
    consumer = None

    def __str__(self) -> str:
        return f"The stream of {printable(self.scope['path'])}"

    def unsent(self) -> int | None:
        """That is the server's to know."""
        return None

    def drain(self) -> None:
        """End, because the process is about to."""
        self._over = True
        self._awake.set()

    def disconnect(self, code: int, reason: str) -> None:
        """End, because its user may not go on."""
        self.drain()

    async def run(self) -> AsyncIterator[bytes]:
        """Join the groups, and give what the client gets until it has left."""
        here = connections.get()
        draining.prepare(here)
        self.channel_name = channel = await self._layer.new_channel()
        mailbox = adapt(self._layer).open_mailbox(channel, self._awake.set)
        self._over = here.refusing
        here.add(self)
        try:
            for group in self._groups:
                await self._layer.group_add(group, channel)
            yield COMMENT  # the client learns that it is connected
            while not (self._over or mailbox.overflowed):
                self._awake.clear()
                message = mailbox.take()
                if message is not None and message["type"] == DISCONNECT:
                    break
                if message is not None:
                    event = self._encode(strip(message))
                    if event is not None:
                        yield encode_event(*event)
                elif await self._is_silent():  # pragma: no branch - tracers lose it at the yield
                    yield COMMENT
            if mailbox.overflowed:
                text = "A client of %s cannot keep up with the channel layer: its stream ends"
                groups = ", ".join(self._groups)
                lograte.log(logger, logging.WARNING, "overflowed", text, groups)
        finally:
            here.discard(self)
            await mailbox.close()

    async def _is_silent(self) -> bool:
        """Wait for a message; True if none has come for long."""
        try:
            async with timers.timeout(self._keep_alive):
                await self._awake.wait()
        except TimeoutError:
            return True
        return False


def _scope_of(request: ASGIRequest) -> Scope:
    """The scope of a request, with its user, as far as the view has asked who it is."""
    scope = dict(request.scope)
    for name, attribute in (("session", "session"), ("user", "_acached_user"), ("user", "user")):
        value = getattr(request, attribute, None)
        if value is not None:
            scope.setdefault(name, value)
    return scope

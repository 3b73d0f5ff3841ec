"""Runs the application of a WebSocket for a client that speaks HTTP.

A bridge is the server of one connection, as far as the application can see. The connection lives in
one process. The client's requests may come to any process: each carries the name of the bridge's
channel, signed, and what it brings is sent there through the channel layer.
"""

import asyncio
import base64
import functools
from collections import deque
from collections.abc import Iterable, Iterator
from typing import Any

from django.conf import settings
from django.core import signing

from .._runtime.bodies import announced_length, collect, refuse
from .._runtime.denial import respond
from .._runtime.types import Mailbox, Message, Receive, Scope, Send
from ..close_codes import CloseCode
from ..exceptions import BrokerError, ChannelFull, ChannelsError
from ..layers import InMemoryChannelLayer, get_channel_layer
from ..layers.third_party import adapt
from ..layers.values import is_text

__all__ = [
    "FRAMES",
    "Bridge",
    "Malformed",
    "deliver",
    "frames_of",
    "header",
    "layer_for",
    "make_token",
    "read_body",
    "read_token",
]

_SALT = "channels.generic.bridge"

#: The type of the layer messages that carry what a client does.
FRAMES = "channels.bridge.frames"

# Carries frames where no channel layer is configured.
_here = functools.cache(InMemoryChannelLayer)


def layer_for(alias: str) -> Any:
    """The channel layer of that alias, or one of this process alone if there is none."""
    layer: Any = get_channel_layer(alias)
    return _here() if layer is None else layer


class Bridge:
    """The server of one WebSocket whose client speaks HTTP. Subclasses send.

    Args:
        scope: of the client's first request.
        protocols: the subprotocols that the client offers.
    """

    def __init__(self, scope: Scope, protocols: Iterable[str] = ()) -> None:
        #: The scope of the WebSocket. The server is recognised by the list of headers.
        self.scope: Scope = {
            **{key: value for key, value in scope.items() if key != "method"},
            "type": "websocket",
            "scheme": "wss" if scope.get("scheme") == "https" else "ws",
            "subprotocols": list(protocols),
            "extensions": {"websocket.http.response": {}},
        }
        #: The channel to which other processes send what the client does; empty before it is open.
        self.channel = ""
        self._events: deque[Message] = deque([{"type": "websocket.connect"}])
        self._last: Message | None = None
        self._mailbox: Mailbox | None = None
        self._waiter: asyncio.Future[None] | None = None

    async def open(self, layer: Any) -> None:
        """Get a channel."""
        self.channel = await layer.new_channel()
        self._mailbox = adapt(layer).open_mailbox(self.channel, self.wake)

    async def close(self) -> None:
        """Give up the channel."""
        if self._mailbox is not None:
            mailbox, self._mailbox = self._mailbox, None
            await mailbox.close()

    def wake(self) -> None:
        """There is something for the application to receive."""
        if self._waiter is not None and not self._waiter.done():
            self._waiter.set_result(None)

    def left(self, code: int, reason: str = "") -> None:
        """The connection has ended."""
        if self._last is None:
            self._last = {"type": "websocket.disconnect", "code": int(code), "reason": reason}
        self.wake()

    async def receive(self) -> Message:
        """What the client does next, as a server tells an application."""
        while True:
            if not self._events and self._last is None:
                self._take()
            if self._events:
                return self._events.popleft()
            if self._last is not None:
                return dict(self._last)
            self._waiter = asyncio.get_running_loop().create_future()
            await self._waiter

    def _take(self) -> None:
        """Take what one request has brought."""
        message = None if self._mailbox is None else self._mailbox.take()
        if message is None:
            return
        if message["type"] != FRAMES:  # a notice that some may have been lost
            self.left(CloseCode.ABNORMAL)
            return
        for kind, *content in message["events"]:
            if kind == "close":
                self.left(*content)
            else:
                data = content[0] if kind == "text" else base64.b64decode(content[0])
                self._events.append({"type": "websocket.receive", kind: data})

    async def send(self, message: Message) -> None:
        """Send what the application says."""
        raise NotImplementedError


# Requests


class Malformed(ChannelsError):
    """A request is nothing that a client of ours makes. It is answered with 400."""


def header(scope: Scope, name: bytes) -> bytes:
    """The first value of a header of a request; empty if it has none."""
    for key, value in scope.get("headers", ()):
        if key.lower() == name:
            return bytes(value)
    return b""


async def read_body(scope: Scope, receive: Receive, send: Send, sender: type) -> bytes | None:
    """The body of a request; None if it was refused as too large, or its client has left."""
    limit: int | None = settings.DATA_UPLOAD_MAX_MEMORY_SIZE
    parts: list[bytes] = []
    size, more = announced_length(scope), True
    while more and (limit is None or size <= limit):
        message = await receive()
        if message["type"] != "http.request":
            return None
        collect(parts, message.get("body", b""))
        size = sum(map(len, parts))
        more = bool(message.get("more_body"))
    if limit is not None and size > limit:
        reason = f"it has more than {limit} bytes, see the setting DATA_UPLOAD_MAX_MEMORY_SIZE"
        await refuse(scope, receive, send, reason=reason, sender=sender)
        return None
    return b"".join(parts)


def make_token(*parts: str) -> str:
    """What a client shows with its requests, so that it can name no channel but its own."""
    return signing.dumps(parts, salt=_SALT)


def read_token(token: Any, count: int) -> list[str]:
    """The parts of what :func:`make_token` made, of which there must be ``count``.

    Raises:
        Malformed: it is nothing of the kind.
    """
    try:
        parts: list[str] = signing.loads(token, salt=_SALT)
    except (signing.BadSignature, TypeError, AttributeError) as error:
        raise Malformed from error
    if len(parts) != count:
        raise Malformed
    return parts


def frames_of(content: dict[str, Any]) -> Iterator[list[Any]]:
    """What a client does, in a form that every layer carries: texts, bytes, and a close.

    Raises:
        Malformed: it is nothing that a client does.
    """
    try:
        for frame in content.get("frames") or ():
            if "text" in frame:
                yield ["text", _text(frame["text"])]
            else:
                base64.b64decode(frame["bytes"], validate=True)
                yield ["bytes", frame["bytes"]]
        close = content.get("close")
        if close is not None:
            code = close.get("code", CloseCode.NO_STATUS.value)
            if type(code) is not int or not 1000 <= code < 5000:
                raise Malformed
            yield ["close", code, _text(close.get("reason", ""))]
    except (TypeError, ValueError, KeyError, AttributeError) as error:
        raise Malformed from error


def _text(value: Any) -> str:
    if not is_text(value):
        raise Malformed  # perhaps half a character
    return str(value)


async def deliver(
    layer: Any, channel: str, message: dict[str, Any], scope: Scope, send: Send
) -> None:
    """Send a message to a bridge, and tell the client whether there was room for it."""
    try:
        await layer.send(channel, message)
    except (ChannelFull, BrokerError):
        await respond(scope, send, status=503, headers=[(b"retry-after", b"1")])
    else:
        await send({"type": "http.response.start", "status": 204, "headers": []})
        await send({"type": "http.response.body", "body": b""})

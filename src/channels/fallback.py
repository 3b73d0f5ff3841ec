"""WebSockets for clients that can have none: server-sent events down, POST requests up.

Some proxies refuse the handshake of a WebSocket. The browser client ``channels.js`` notices it, and
then sends a POST request to the same URL. The response is a stream of events, and further requests
carry the client's frames. The application of the WebSocket does not see a difference: the same
middleware, routes and consumers serve it, with a scope of the type ``websocket``.
"""

import asyncio
import base64
import json
from typing import Any

from . import DEFAULT_CHANNEL_LAYER
from ._runtime.backstage import untold
from ._runtime.denial import respond
from ._runtime.types import ASGIApplication, Message, Receive, Scope, Send
from .close_codes import CloseCode
from .generic._bridge import (
    FRAMES,
    Bridge,
    Malformed,
    deliver,
    frames_of,
    header,
    layer_for,
    make_token,
    read_body,
    read_token,
)
from .generic._events import HEADERS, Comments, encode_event

__all__ = ["EventStreamFallback"]

#: The media type of the client's requests. Browsers let pages of other origins send it only if
#: the server agrees (CORS, "preflight").
CONTENT_TYPE = b"application/channels+json"

# Seconds between two comments: nginx cuts a connection after 60 s of silence.
_KEEP_ALIVE = 15.0


class EventStreamFallback:
    """An application for HTTP that also takes the clients of WebSockets which are blocked.

    In ``asgi.py``::

        websocket = AllowedHostsOriginValidator(AuthMiddlewareStack(URLRouter(...)))
        application = ProtocolTypeRouter({
            "http": EventStreamFallback(websocket, get_asgi_application()),
            "websocket": websocket,
        })

    Args:
        websocket: the application of WebSockets.
        http: the application of all other requests.
        channel_layer_alias: the channel layer that carries the clients' frames to the process that
            has the connection. Without a layer, all requests of a client must come to one process.
    """

    def __init__(
        self,
        websocket: ASGIApplication,
        http: ASGIApplication,
        *,
        channel_layer_alias: str = DEFAULT_CHANNEL_LAYER,
    ) -> None:
        self.websocket = websocket
        self.http = http
        self.channel_layer_alias = channel_layer_alias

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> Any:
        """Serve a request of the client, or pass it on."""
        if scope["type"] != "http" or not _is_ours(scope):
            return await self.http(scope, receive, send)
        body = await read_body(scope, receive, send, type(self))
        if body is None:
            return None
        layer = layer_for(self.channel_layer_alias)
        try:
            content = _decode(body)
            if "id" in content:
                (channel,) = read_token(content["id"], 1)
                message = {"type": FRAMES, "events": list(frames_of(content))}
                return await deliver(layer, channel, message, scope, send)
            protocols = _protocols(content)
        except Malformed:
            return await respond(scope, send, status=400)
        return await _Stream(scope, receive, send, protocols).run(self.websocket, layer)


class _Stream(Bridge):
    """Sends what the application says as server-sent events."""

    def __init__(self, scope: Scope, receive: Receive, send: Send, protocols: list[str]) -> None:
        super().__init__(scope, protocols)
        self._request = scope
        self._receive = receive
        #: By this name, the adapter of the server is found behind :meth:`send`.
        self.real_send = send
        self._accepted = self._ended = False
        self._comments = Comments(_KEEP_ALIVE, self._write)

    async def run(self, application: ASGIApplication, layer: Any) -> None:
        """Run the application of the WebSocket until it has ended."""
        await self.open(layer)
        watching = untold(asyncio.get_running_loop().create_task(self._watch()))
        try:
            await application(self.scope, self.receive, self.send)
            if self._accepted and not self._ended:
                await self._end(b"")
        finally:
            watching.cancel()
            self._comments.stop()
            await self.close()

    async def _watch(self) -> None:
        """Notice when the client leaves."""
        while (await self._receive())["type"] != "http.disconnect":
            pass
        self.left(CloseCode.ABNORMAL)

    async def send(self, message: Message) -> None:
        """Send what the application says, as an event."""
        message_type: str = message["type"]
        if message_type == "websocket.send":
            await self._write(_frame(message))
        elif message_type == "websocket.accept":
            await self._accept(message)
        elif message_type == "websocket.http.response.start":
            headers = [*message.get("headers", ()), *_refusal(message["status"])]
            start = {**message, "type": "http.response.start", "headers": headers}
            await self.real_send(start)
        elif message_type == "websocket.http.response.body":
            await self.real_send({**message, "type": "http.response.body"})
            if not message.get("more_body"):
                self.left(CloseCode.ABNORMAL)
        elif self._accepted:
            code = message.get("code") or CloseCode.NORMAL
            closed = {"code": code, "reason": message.get("reason") or ""}
            await self._end(encode_event(json.dumps(closed), "close"))
            self.left(code)
        else:
            await respond(self._request, self.real_send, status=403, headers=_refusal(403))
            self.left(CloseCode.ABNORMAL)

    async def _accept(self, message: Message) -> None:
        headers = [*HEADERS, *(message.get("headers") or ())]
        opened = {"id": make_token(self.channel), "protocol": message.get("subprotocol")}
        self._accepted = True
        await self.real_send({"type": "http.response.start", "status": 200, "headers": headers})
        await self._write(encode_event(json.dumps(opened), "open"))
        self._comments.start()

    async def _write(self, body: bytes) -> None:
        await self.real_send({"type": "http.response.body", "body": body, "more_body": True})

    async def _end(self, body: bytes) -> None:
        self._comments.stop()
        self._ended = True
        await self.real_send({"type": "http.response.body", "body": body})


def _refusal(status: int) -> list[tuple[bytes, bytes]]:
    """Tells the client that the application has refused it, and not some proxy.

    It comes back later where it would after the same status of any request.
    """
    return [(b"channels-refused", b"1")] if 400 <= status < 500 and status not in {408, 429} else []


def _is_ours(scope: Scope) -> bool:
    content_type = header(scope, b"content-type").partition(b";")[0].strip().lower()
    return scope["method"] == "POST" and content_type == CONTENT_TYPE


def _decode(body: bytes) -> dict[str, Any]:
    try:
        content = json.loads(body)
    except (ValueError, RecursionError) as error:
        raise Malformed from error
    if not isinstance(content, dict):
        raise Malformed
    return content


def _protocols(content: dict[str, Any]) -> list[str]:
    protocols = content.get("protocols") or []
    if not isinstance(protocols, list) or not all(isinstance(name, str) for name in protocols):
        raise Malformed
    return protocols


def _frame(message: Message) -> bytes:
    text = message.get("text")
    if text is not None:
        return encode_event(json.dumps(text))
    return encode_event(json.dumps(base64.b64encode(message["bytes"]).decode()), "binary")

"""One line per request and per step of a WebSocket, in the style of Django's ``runserver``."""

import logging
import time
from typing import Any
from urllib.parse import quote

from channels._runtime.logtext import printable
from channels._runtime.types import ASGIApplication, Message, Receive, Scope, Send

__all__ = ["RequestLog"]

logger = logging.getLogger("django.server")

# Long enough for the query strings of a developer's day, short enough for a terminal.
_LINE_LIMIT = 2000


class RequestLog:
    """Wraps an ASGI application and logs what it serves to ``django.server``.

    Records of HTTP requests have the message, arguments and extras that Django's own server gives
    them (``status_code``, ``server_time``), so a project's ``LOGGING`` and Django's colours apply.
    Query strings of WebSockets are left out: they are where browsers carry tokens.
    """

    def __init__(self, application: ASGIApplication) -> None:
        self.application = application

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        """Serve one connection."""
        if scope["type"] == "http":
            await self._http(scope, receive, send)
        elif scope["type"] == "websocket":
            await self._websocket(scope, receive, send)
        else:
            await self.application(scope, receive, send)

    async def _http(self, scope: Scope, receive: Receive, send: Send) -> None:
        status: int | None = None
        size = 0
        logged = False

        def log() -> None:
            nonlocal logged
            if status is not None and not logged:
                logged = True
                _log(status, '"%s" %s %s', _request_line(scope), str(status), str(size))

        async def observe(message: Message) -> None:
            nonlocal status, size
            await send(message)
            if message["type"] == "http.response.start":
                status = message["status"]
            elif message["type"] == "http.response.body":
                if scope["method"] != "HEAD":
                    size += len(message.get("body", b""))
                if not message.get("more_body"):
                    log()

        try:
            await self.application(scope, receive, observe)
        except Exception:
            status = status or 500  # what the server answers in the application's stead
            raise
        finally:
            log()

    async def _websocket(self, scope: Scope, receive: Receive, send: Send) -> None:
        path = printable(scope["path"], _LINE_LIMIT)
        client = scope.get("client")
        peer = f"{client[0]}:{client[1]}" if client else "-"
        answered = ended = False

        def log(step: str, status: int | None = None) -> None:
            _log(status, "WebSocket %s %s [%s]", step, path, peer)

        def end(status: int | None = None) -> None:
            nonlocal ended
            if not ended:
                ended = True
                log("REJECT" if status is not None else "DISCONNECT", status)

        async def observe_sent(message: Message) -> None:
            nonlocal answered
            if not answered:
                answered = True
                if message["type"] == "websocket.accept":
                    log("CONNECT", 101)
                else:
                    end(message.get("status", 403))
            await send(message)

        async def observe_received() -> Message:
            message: Message = await receive()
            if message["type"] == "websocket.disconnect":
                end()
            return message

        log("HANDSHAKING")
        try:
            await self.application(scope, observe_received, observe_sent)
        except Exception:
            end(None if answered else 500)
            raise
        finally:
            end()


def _request_line(scope: Scope) -> str:
    """The first line of the request, as the client sent it."""
    target = scope.get("raw_path") or quote(scope["path"]).encode("ascii")
    if scope["query_string"]:
        target += b"?" + scope["query_string"]
    text = target.decode("ascii", "backslashreplace")
    line = f"{scope['method']} {text} HTTP/{scope.get('http_version', '1.1')}"
    return printable(line, _LINE_LIMIT)


def _log(status: int | None, message: str, *arguments: str) -> None:
    """Log at the level Django's server gives this status, with the extras its formatter reads."""
    level = logging.INFO
    if status is not None and status >= 400:
        level = logging.ERROR if status >= 500 else logging.WARNING
    extra: dict[str, Any] = {"server_time": time.strftime("%d/%b/%Y %H:%M:%S")}
    if status is not None:
        extra["status_code"] = status
    logger.log(level, message, *arguments, extra=extra)

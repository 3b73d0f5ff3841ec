"""Refusing a connection: one log line that says why, one signal, one clean answer."""

import asyncio
import logging
from http import HTTPStatus

from .. import signals
from . import lograte
from .types import Consumer, Scope, Send

__all__ = ["deny", "from_server", "phrase", "printable", "respond", "who"]

logger = logging.getLogger("channels.handshake")


def from_server(scope: Scope) -> bool:
    """Whether a server made this scope, rather than a test or a worker.

    The ASGI specification requires every server to put ``asgi`` into the scope; communicators and
    workers do not. Errors that a server's client caused are answered and logged; a test or a
    worker gets them raised instead.
    """
    return "asgi" in scope


def printable(text: object, limit: int = 200) -> str:
    """``text`` fit for one line of a log: no control characters, at most ``limit`` characters."""
    try:
        shown = str(text)[: limit + 1]  # one more, to see that there is more
    except Exception as error:  # noqa: BLE001 - of an exception that a project has made
        return f"(no text: str() raised {type(error).__name__})"
    if not shown.isprintable():
        shown = shown.encode("unicode_escape").decode("ascii")
    return shown if len(shown) <= limit else shown[: limit - 3] + "..."


def who(consumer: Consumer) -> str:
    """A consumer and where it was called, for the log."""
    scope = consumer.scope
    place = scope.get("path") or scope.get("channel") or scope["type"]
    return f"{type(consumer).__qualname__} at {printable(place)}"


async def deny(
    scope: Scope,
    send: Send,
    *,
    status: int,
    reason: str,
    sender: object = None,
    level: int | None = None,
    unread: bool = False,
) -> None:
    """Refuse an HTTP request or a WebSocket that has not been accepted.

    A WebSocket gets an HTTP denial response with ``status`` where the server has the
    ``websocket.http.response`` extension, and is closed (which servers answer with 403) where it
    has not. ``reason`` goes to the log and the signal, never to the client. ``level`` is that of
    the line in the log; by default ERROR if ``status`` says that the server is at fault, else
    WARNING. Of each sender's refusals with one status, the log gets a bounded number of lines.
    ``unread`` is that of :func:`respond`.
    """
    path = printable(scope.get("path", ""))
    if level is None:
        level = logging.ERROR if status >= 500 else logging.WARNING
    lograte.log(
        logger,
        level,
        f"{getattr(sender, '__qualname__', '')} {status}",
        "Refused %s %s: %s [%d]",
        scope["type"],
        path,
        printable(reason, 500),
        status,
        limited=from_server(scope),
    )
    signals.emit(
        signals.connection_refused,
        sender if sender is not None else deny,
        scope=scope,
        reason=reason,
        status=status,
    )
    await respond(scope, send, status=status, unread=unread)


async def respond(scope: Scope, send: Send, *, status: int, unread: bool = False) -> None:
    """The answer alone: ``status`` and its phrase, or a close if a WebSocket can have no other.

    With ``unread`` the client may still be sending its request. It is told the status, and that
    the connection ends; the caller sends the last part of the body, :func:`phrase`, when the
    request has been read or not be waited for any longer.
    """
    prefix = "http.response"
    if scope["type"] == "websocket":
        if "websocket.http.response" not in (scope.get("extensions") or {}):
            await send({"type": "websocket.close"})
            return
        prefix = "websocket.http.response"
    body = phrase(status)
    headers = [
        (b"content-type", b"text/plain; charset=utf-8"),
        (b"content-length", str(len(body)).encode("ascii")),
    ]
    if unread and str(scope.get("http_version")).startswith("1"):  # later ones forbid it
        headers.append((b"connection", b"close"))
    await send({"type": f"{prefix}.start", "status": status, "headers": headers})
    if unread:
        # Servers close the connection after a whole answer. Closed with something unread, it is
        # reset, and the client may never see the answer.
        await send({"type": f"{prefix}.body", "body": b"", "more_body": True})
    else:
        await send({"type": f"{prefix}.body", "body": body})
    if scope["type"] == "websocket":
        # uvicorn takes an application for broken that returns before its loop has closed the
        # connection, which it does after the last part of the answer, in the next turn.
        await asyncio.sleep(0)


def phrase(status: int) -> bytes:
    """What the body of an answer says."""
    return HTTPStatus(status).phrase.encode("ascii")

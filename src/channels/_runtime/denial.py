"""Refusing a connection: one log line that says why, one signal, one clean answer."""

import logging
from collections.abc import Iterable
from http import HTTPStatus

from .. import signals
from . import lograte
from .logtext import printable
from .scopes import from_server
from .servers import adapter_for, after_denial, begins_with_help
from .types import Scope, Send

__all__ = ["deny", "phrase", "respond"]

logger = logging.getLogger("channels.handshake")


async def deny(
    scope: Scope,
    send: Send,
    *,
    status: int,
    reason: str,
    sender: object = None,
    level: int | None = None,
    unread: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
    close_code: int | None = None,
) -> None:
    """Refuse an HTTP request or a WebSocket that has not been accepted.

    A WebSocket gets an HTTP denial response with ``status`` where the server has the
    ``websocket.http.response`` extension, and is closed (which servers answer with 403) where it
    has not. ``reason`` goes to the log and the signal, never to the client. ``level`` is that of
    the line in the log; by default ERROR if ``status`` says that the server is at fault, else
    WARNING. Of each sender's refusals with one status, the log gets a bounded number of lines.
    ``unread`` and ``headers`` are those of :func:`respond`. With ``close_code`` the socket is
    accepted and closed with that code: pages cannot see the status of a handshake.
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
    if close_code is None:
        await respond(scope, send, status=status, unread=unread, headers=headers)
    else:
        # Browsers fail a handshake that picks none of the subprotocols which they offer.
        offered = scope.get("subprotocols") or [None]
        if begins_with_help(scope):
            adapter_for(scope, send, None).begin()
        await send({"type": "websocket.accept", "subprotocol": offered[0]})
        await send({"type": "websocket.close", "code": close_code})


async def respond(
    scope: Scope,
    send: Send,
    *,
    status: int,
    unread: bool = False,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """The answer alone: ``status`` and its phrase, or a close if a WebSocket can have no other.

    ``headers`` come with it.

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
        *headers,
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
        await after_denial()


def phrase(status: int) -> bytes:
    """What the body of an answer says."""
    return HTTPStatus(status).phrase.encode("ascii")

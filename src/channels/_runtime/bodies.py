"""The body of an HTTP request: collected up to a limit, and refused beyond it."""

import asyncio
import contextlib

from .denial import deny, phrase
from .types import Receive, Scope, Send

__all__ = ["LAST_WORD", "LINGER", "announced_length", "collect", "refuse"]

# Seconds for which what a refused client goes on sending is read, and forgotten.
LINGER = 1.0

# Parts that are smaller than this are put together when there are more of them than this.
_SMALL, _FEW = 64 * 1024, 64

#: The end of a refusal's answer.
LAST_WORD = {"type": "http.response.body", "body": phrase(413)}


def announced_length(scope: Scope) -> int:
    """How many bytes the client says it will send; 0 if it does not say."""
    for name, value in scope.get("headers") or ():
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


def collect(parts: list[bytes], part: bytes) -> None:
    """Append ``part``, so that a body in tiny parts occupies little more than in large ones."""
    if not part:
        return
    parts.append(part)
    while len(parts) > _FEW and len(parts[-2]) <= len(parts[-1]) < _SMALL:
        parts[-2:] = [parts[-2] + parts[-1]]


async def refuse(
    scope: Scope, receive: Receive, send: Send, *, reason: str, sender: object
) -> None:
    """Refuse a request with 413 before any of its body has been read."""
    await deny(scope, send, status=413, reason=reason, sender=sender, unread=True)
    # A task, because that of a server may be no task of asyncio's.
    discarding = asyncio.ensure_future(_discard(receive))
    try:
        await asyncio.wait((discarding,), timeout=LINGER)
    finally:
        discarding.cancel()
    with contextlib.suppress(OSError):  # the client has gone
        await send(dict(LAST_WORD))


async def _discard(receive: Receive) -> None:
    """Read the rest of a request."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return

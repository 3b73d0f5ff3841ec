"""The body of an HTTP request: collected up to a limit, and refused beyond it."""

import asyncio
import contextlib
from collections.abc import Iterable
from typing import Any

from .denial import deny, phrase
from .types import Receive, Scope, Send

__all__ = [
    "LINGER",
    "announced_length",
    "announces_body",
    "collect",
    "last_word",
    "refuse",
]

# Seconds for which what a refused client goes on sending is read, and forgotten.
LINGER = 1.0

# Parts that are smaller than this are put together when there are more of them than this.
_SMALL, _FEW = 64 * 1024, 64


def last_word(status: int) -> dict[str, Any]:
    """The end of a refusal's answer."""
    return {"type": "http.response.body", "body": phrase(status)}


def announced_length(scope: Scope) -> int:
    """How many bytes the client says it will send; 0 if it does not say."""
    for name, value in scope.get("headers") or ():
        if name.lower() == b"content-length":
            return int(value) if value.isdigit() and len(value) < 20 else 0
    return 0


def announces_body(scope: Scope) -> bool:
    """Whether the client says that it sends a body, of whatever length."""
    if announced_length(scope) > 0:
        return True
    return any(name.lower() == b"transfer-encoding" for name, _ in scope.get("headers") or ())


def collect(parts: list[bytes], part: bytes) -> None:
    """Append ``part``, so that a body in tiny parts occupies little more than in large ones."""
    if not part:
        return
    parts.append(part)
    while len(parts) > _FEW and len(parts[-2]) <= len(parts[-1]) < _SMALL:
        parts[-2:] = [parts[-2] + parts[-1]]


async def refuse(
    scope: Scope,
    receive: Receive,
    send: Send,
    *,
    reason: str,
    sender: object,
    status: int = 413,
    headers: Iterable[tuple[bytes, bytes]] = (),
) -> None:
    """Refuse a request before any of its body has been read, by default because of its size."""
    await deny(
        scope, send, status=status, reason=reason, sender=sender, unread=True, headers=headers
    )
    # A task, because that of a server may be no task of asyncio's.
    discarding = asyncio.ensure_future(_discard(receive))
    try:
        await asyncio.wait((discarding,), timeout=LINGER)
    finally:
        discarding.cancel()
    with contextlib.suppress(OSError):  # the client has gone
        await send(last_word(status))


async def _discard(receive: Receive) -> None:
    """Read the rest of a request."""
    while True:
        message = await receive()
        if message["type"] != "http.request" or not message.get("more_body"):
            return

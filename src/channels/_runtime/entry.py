"""Who is let in to a consumer: its permissions, asked before it is given any event."""

import asyncio
from typing import TYPE_CHECKING

from ..close_codes import CloseCode
from . import timers
from .bodies import LINGER, announced_length
from .denial import deny, phrase
from .intake import Intake
from .lifecycle import CONNECTING, Lifecycle
from .running_handler import RunningHandler
from .scopes import CHALLENGE
from .types import Consumer, Scope, Send

if TYPE_CHECKING:
    from .types import EntryRule

__all__ = ["may_enter", "refuse_entry"]

# For the log, while the permissions of a consumer that is about to begin are asked.
_ASKING = "permissions"


async def may_enter(
    rule: "EntryRule",
    consumer: Consumer,
    life: Lifecycle,
    intake: Intake,
    handler: RunningHandler,
    send: Send,
) -> bool:
    """Whether ``rule`` lets a client in; if not, the client is refused.

    Args:
        rule: the consumer's.
        consumer: the consumer.
        life: how far the connection has come.
        intake: reads the client.
        handler: as which asking counts: it ends when the client has left, or waited too long.
        send: the server's.

    Raises:
        BaseException: what the rule raises, which lets nobody in.
    """
    scope, handler.message_type = consumer.scope, _ASKING
    try:
        allowed = await rule.acheck(scope)
    except asyncio.CancelledError:
        if not handler.was_cancelled_here():
            raise
        return False
    finally:
        handler.message_type = None
        if handler.limited:
            handler.ended()
    if life.phase is not CONNECTING:  # the client has left, or was refused as too slow
        return False
    if allowed:
        return True
    by_close = life.protocol == "websocket" and consumer.refuse_by_close
    if by_close:
        while intake.next() is None and intake.failure is None:  # the client's handshake
            await intake.wait()
    life.turned_away()
    unread = life.protocol == "http" and announced_length(scope) > 0
    status, reason = rule.refusal(scope)
    await refuse_entry(
        scope, send, status, reason, sender=type(consumer), by_close=by_close, unread=unread
    )
    if unread:
        await _discard_body(intake)
        await send({"type": "http.response.body", "body": phrase(status)})
    return False


async def refuse_entry(
    scope: Scope,
    send: Send,
    status: int,
    reason: str,
    *,
    sender: type,
    by_close: bool = False,
    unread: bool = False,
) -> None:
    """Refuse a client that may not come in.

    Args:
        scope: of the connection.
        send: the server's.
        status: 401 or 403.
        reason: for the log.
        sender: the class that refuses.
        by_close: accept a WebSocket, and close it with 4401 or 4403.
        unread: as for :func:`~.denial.deny`.
    """
    headers = []
    if status == 401 and CHALLENGE in scope:
        headers.append((b"www-authenticate", scope[CHALLENGE]))  # RFC 9110, section 15.5.2
    code = None
    if by_close:
        code = CloseCode.UNAUTHORIZED.value if status == 401 else CloseCode.FORBIDDEN.value
    await deny(
        scope,
        send,
        status=status,
        reason=reason,
        sender=sender,
        unread=unread,
        headers=headers,
        close_code=code,
    )


async def _discard_body(intake: Intake) -> None:
    """Read the rest of a request for a while: closed before that, it might hide the answer."""
    try:
        async with timers.timeout(LINGER):
            while True:
                event = intake.next()
                if event is None:
                    if intake.failure is not None:
                        return
                    await intake.wait()
                elif not event.get("more_body"):
                    return
    except TimeoutError:
        return

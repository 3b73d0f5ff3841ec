"""How long a consumer may leave a WebSocket's handshake unanswered."""

import asyncio
import logging
from typing import Any

from . import timers
from .denial import deny
from .faults import attempt
from .lifecycle import CLOSED, CONNECTING, Lifecycle
from .logtext import describe
from .running_handler import RunningHandler
from .types import Consumer, Send

__all__ = ["HandshakeLimit"]

logger = logging.getLogger("channels.consumer")

# Seconds that a refusal may take when the connection ends meanwhile.
_REFUSAL = 1.0


class HandshakeLimit:
    """Refuses a handshake with 503 that the consumer has not answered in time.

    Args:
        seconds: how long the consumer has.
        consumer: the consumer.
        send: the server's.
        life: how far the connection has come.
        handler: the handler that runs, which is cancelled.
    """

    __slots__ = (
        "_consumer",
        "_handler",
        "_life",
        "_refusal",
        "_scope",
        "_seconds",
        "_send",
        "_timer",
    )

    def __init__(
        self,
        seconds: float,
        consumer: Consumer,
        send: Send,
        life: Lifecycle,
        handler: RunningHandler,
    ) -> None:
        self._seconds = seconds
        self._consumer = consumer
        self._scope = consumer.scope
        self._send = send
        self._life = life
        self._handler = handler
        self._refusal: asyncio.Task[Any] | None = None
        self._timer: timers.Timer | None = timers.Timer(seconds, self._is_late)

    def _is_late(self) -> None:
        self._timer = None
        if self._life.phase is CONNECTING:
            self._life.turned_away()  # what the consumer answers from now on is dropped
            self._refusal = asyncio.get_running_loop().create_task(
                attempt(self._consumer, self._scope, self._refuse)
            )

    async def _refuse(self) -> None:
        if self._life.phase >= CLOSED:
            return  # the client has left meanwhile
        sender = type(self._consumer)
        reason = (
            f"{sender.__qualname__} has neither accepted nor closed it within {self._seconds:g} s "
            "(a higher handshake_timeout waits longer)"
        )
        self._handler.cancel()
        try:
            await deny(self._scope, self._send, status=503, reason=reason, sender=sender)
        except Exception:
            logger.debug("%s: refusing failed", describe(self._consumer), exc_info=True)
        finally:
            self._life.disconnect_missing()

    async def finish(self) -> None:
        """Wait for a refusal that is under way; after that, none begins any more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._refusal is not None:
            await asyncio.wait((self._refusal,), timeout=_REFUSAL)
            self._refusal = None

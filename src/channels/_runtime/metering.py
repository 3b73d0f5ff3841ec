"""Reads a client that is held to limits: what is too much is dropped here, before any handler."""

import asyncio
import logging
from functools import partial
from typing import Any

from . import timers
from .faults import attempt, log_about
from .intake import Intake
from .outlet import Outlet
from .types import Consumer, Excess, Guard, Message, Receive

__all__ = ["Metering"]

# Seconds that a close may take when the connection ends meanwhile.
_CLOSE = 1.0


class Metering:
    """Takes the place of the server's ``receive`` for a WebSocket with limits.

    A client that is over a limit is closed, and what it still sends is read and forgotten, which
    costs less than any handler. Or it is not read until it is within its limit again: then the
    server's buffers fill, and TCP holds the client back.

    Args:
        receive: the server's.
        guard: the limits.
        consumer: the consumer, for the log.
        intake: what calls this.
        outlet: what closes the socket.
    """

    __slots__ = (
        "_closing",
        "_consumer",
        "_event",
        "_guard",
        "_intake",
        "_outlet",
        "_receive",
        "_waited",
    )

    def __init__(
        self, receive: Receive, guard: Guard, consumer: Consumer, intake: Intake, outlet: Outlet
    ) -> None:
        self._receive = receive
        self._guard = guard
        self._consumer = consumer
        self._intake = intake
        self._outlet = outlet
        # What was read and has not passed. A wait may be cancelled, to go on later.
        self._event: Message | None = None
        self._closing: asyncio.Task[Any] | None = None
        self._waited = False

    async def receive(self) -> Message:
        """The next event that is within the limits."""
        while True:
            event = self._event
            if event is None:
                event = await self._receive()
            if event["type"] != "websocket.receive":
                return event
            if self._closing is not None:
                continue
            self._event = event
            excess = await self._guard.check(_size(event))
            if excess is None:
                self._event = None
                return event
            if excess.waits:
                await self._wait(excess)
            else:
                self._event = None
                self._close(excess)

    async def _wait(self, excess: Excess) -> None:
        """Read nothing until the client is within its limit."""
        self._guard.count(excess, "waited")
        if not self._waited:
            self._waited = True
            text = "%s: the client is read more slowly: %s"
            log_about(self._consumer, logging.INFO, "slowed", text, excess.reason)
        hold = self._intake.hold
        if hold is not None:
            hold(True)
        try:
            await timers.sleep(excess.seconds)
        finally:
            if hold is not None:
                hold(False)

    def _close(self, excess: Excess) -> None:
        """Close the socket, in a task: some servers close only while nobody reads."""
        self._guard.count(excess, "closed")
        log_about(
            self._consumer,
            logging.WARNING,
            f"over {excess.limit}",
            "%s closed with %d: %s",
            excess.code,
            excess.reason,
        )
        close = partial(
            self._outlet.say_goodbye, excess.code, status=excess.status, reason=excess.told
        )
        self._closing = asyncio.get_running_loop().create_task(
            attempt(self._consumer, self._consumer.scope, close)
        )

    async def finish(self) -> None:
        """Wait for a close that is under way."""
        if self._closing is not None:
            await asyncio.wait((self._closing,), timeout=_CLOSE)


def _size(event: Message) -> int:
    """The bytes of a message."""
    text = event.get("text")
    if text is None:
        return len(event.get("bytes") or b"")
    return len(text) if text.isascii() else len(text.encode("utf-8", "surrogatepass"))

"""What goes out of one connection: until its last message, and as long as its client takes it."""

import asyncio
import logging
from collections.abc import Awaitable, Callable, Iterator
from typing import Any

from .. import signals
from .consumer_signals import send_signal
from .denial import respond
from .faults import log_about
from .inline import start_inline
from .intake import Intake
from .logtext import describe
from .pending_sends import PendingSend, PendingSends
from .servers import Server, adapter_for, begins_with_help
from .types import Consumer, Message, Receive, Send

__all__ = ["OVERLOADED", "RESTARTING", "Outlet"]

logger = logging.getLogger("channels.consumer")

# RFC 6455, section 7.4.1, and the registry that it founds
RESTARTING, OVERLOADED = 1012, 1013


class Outlet:
    """Sends what a consumer says, and knows how far the handshake or the response has come.

    Args:
        consumer: whose it is.
        send: the server's.
        intake: what reads the same client.
        pending_sends: where sends are noted while they wait for the client.
        disconnect_due: called when the last has been sent, or cannot be: a disconnect must follow.
        stalled: called when the client has taken nothing for the consumer's ``send_timeout``.
    """

    __slots__ = (
        "_consumer",
        "_disconnect_due",
        "_given_up",
        "_intake",
        "_pending_sends",
        "_protocol",
        "_raw_send",
        "_receive",
        "_send",
        "_server",
        "_stalled",
        "accepted",
        "closed",
        "code",
        "endless",
        "gone",
    )

    def __init__(
        self,
        consumer: Consumer,
        send: Send,
        intake: Intake,
        pending_sends: PendingSends,
        *,
        disconnect_due: Callable[[], None],
        stalled: Callable[[], None],
    ) -> None:
        self._consumer = consumer
        self._raw_send = send
        self._send = send
        self._receive: Receive | None = None
        self._server: Server | None = None
        self._intake = intake
        self._protocol: str = consumer.scope["type"]
        self._pending_sends = pending_sends
        self._disconnect_due = disconnect_due
        self._stalled = stalled
        # Sends that were given up, and whose task is still to learn of it.
        self._given_up: tuple[Awaitable[None], ...] = ()
        #: A handshake was accepted, or a response started.
        self.accepted = False
        #: The response is a stream of events, which ends when somebody ends it.
        self.endless = False
        #: The application has sent its last.
        self.closed = False
        #: The client has left, or takes nothing any more.
        self.gone = False
        #: The code that the application closed the WebSocket with.
        self.code: int | None = None

    def begin(self, receive: Receive) -> None:
        """The connection begins: its ``receive`` is the server's, like the ``send``."""
        self._receive = receive
        if begins_with_help(self._consumer.scope):
            server = self._adapter()
            if server.begin():
                self._send, self._intake.hold = server.send, server.hold

    def _adapter(self) -> Server:
        """What knows the server of this connection, chosen when it is first needed."""
        if self._server is None:
            self._server = adapter_for(self._consumer.scope, self._raw_send, self._receive)
        return self._server

    @property
    def send_timeout(self) -> float | None:
        """Seconds that the client may take nothing; None for as long as it likes."""
        return self._consumer.send_timeout

    async def send(self, message: Message) -> None:
        """Send to the server, unless the client has gone or the socket was closed.

        What comes too late is dropped and signalled: handlers that serve other connections as
        well must not fail because of this one.
        """
        message_type = message["type"]
        if self.gone or (self.closed and self._protocol == "websocket"):
            self._drop(message_type)
            return
        reading = False
        if message_type != "websocket.send":
            self._note(message_type, message)
        try:
            if message_type == "websocket.close" and self._adapter().close_waits_for_receive:
                reading = await self._intake.stop()
            sending = start_inline(self._send(message))
            if sending is None:
                return
            self._pending_sends[sending] = PendingSend(self, asyncio.current_task())
            try:
                await sending
            except asyncio.CancelledError:
                if not self._recall(sending):
                    raise
                self._drop(message_type)
            except Exception:
                self._recall(sending)  # the server may answer a cancellation with an error
                raise
            finally:
                del self._pending_sends[sending]
        except OSError:
            # ASGI: servers raise a subclass of OSError when the client has disconnected.
            self.stop()
            if not self.closed:
                self._disconnect_due()
        except Exception:
            if message_type == "websocket.close":
                self.closed, self.code = False, None  # the server did not take it
            raise
        finally:
            if reading and not self.gone:
                self._intake.resume()

    def _note(self, message_type: str, message: Message) -> None:
        """Remember how far the handshake or the response has come."""
        if message_type == "websocket.accept":
            self.accepted = True
        elif message_type == "http.response.start":
            self.accepted = True
            self.endless = _is_event_stream(message)
        elif message_type == "websocket.close":
            self.closed = True
            self.code = message.get("code") or 1000
            self._disconnect_due()
        elif message_type.endswith(".response.body") and not message.get("more_body"):
            self.closed = True
            self._disconnect_due()

    def _drop(self, message_type: str) -> None:
        send_signal(signals.send_dropped, self._consumer, message_type=message_type)

    def stop(self) -> None:
        """Nothing more can be sent, so what the layer has for the client is of no use."""
        self.gone = True
        self._intake.mailbox = None

    # A client that does not read

    @property
    def consumer(self) -> Consumer:
        """Whose it is."""
        return self._consumer

    def taken(self) -> int | None:
        """A figure that grows while the client takes what it is sent, if there is one."""
        return self._adapter().taken()

    def give_up(
        self,
        sending: Awaitable[None],
        task: "asyncio.Task[Any] | None",
        seconds: float,
        hint: str = "a higher send_timeout waits longer",
    ) -> None:
        """Let go of a client that has taken nothing for so long, and of who waits for it."""
        if task is not None:
            self._given_up += (sending,)
            task.cancel()
        if self.gone:
            return
        log_about(
            self._consumer,
            logging.WARNING,
            "stalled",
            "%s: the client has not read for %.3g s; disconnected (%s)",
            seconds,
            hint,
        )
        send_signal(signals.client_stalled, self._consumer, seconds=seconds)
        self.stop()
        self._stalled()
        # No close could reach it, and what waits to be sent would wait for as long as it likes.
        self._adapter().abort()

    def _recall(self, sending: Awaitable[None]) -> bool:
        """Whether it was :meth:`give_up` that cancelled, and nobody else."""
        task = asyncio.current_task()
        if task is None or sending not in self._given_up:
            return False
        self._given_up = tuple(other for other in self._given_up if other is not sending)
        return task.uncancel() == 0

    # Last words

    async def say_goodbye(self, code: int, *, status: int = 500) -> None:
        """Close what is open, or refuse what was not accepted; a server that fails is let be.

        Args:
            code: for a WebSocket. 1000 means that nothing is wrong: a handshake gets a 403.
            status: for what was not accepted.
        """
        if self.closed or self.gone:
            return
        self.code = code
        try:
            if self._protocol == "websocket" and self.accepted:
                await self._close_with(code)
            elif self._protocol in {"websocket", "http"} and not self.accepted:
                self.closed = self.accepted = True
                refused = code == 1000 and self._protocol == "websocket"
                scope = self._consumer.scope
                await respond(scope, self._raw_send, status=403 if refused else status)
        except Exception:
            self.code = code
            logger.debug("%s: closing failed", describe(self._consumer), exc_info=True)

    async def _close_with(self, code: int) -> None:
        """Close with ``code``, or with 1000 on a server that lets no application send that."""
        try:
            await self.send({"type": "websocket.close", "code": code})
        except Exception:  # noqa: BLE001 - each server has its own
            await self.send({"type": "websocket.close"})
            self.code = code

    async def end_response(self) -> None:
        """End a response that was started, as if its client had left."""
        if not (self.closed or self.gone):
            try:
                await self.send({"type": "http.response.body", "body": b""})
            except Exception:
                logger.debug("%s: ending failed", describe(self._consumer), exc_info=True)
        self.stop()


def _is_event_stream(message: Message) -> bool:
    headers = message.get("headers") or ()
    if isinstance(headers, Iterator):  # which can be read but once
        headers = message["headers"] = list(headers)
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )

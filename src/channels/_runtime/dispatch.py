"""The life of one connection: from two sources, one stream of handler calls, and a certain end.

Two tasks at most: the one that the server called, which runs every handler, and one that reads the
client ahead of it (see intake.py).
"""

import asyncio
import logging
import time
from typing import Any

from .. import signals
from ..exceptions import StopConsumer, UnknownMessageType
from . import database
from .denial import from_server, printable, respond
from .faults import client_close_code
from .intake import Intake
from .types import Consumer, Inbox, Message, OpenInbox, Receive, Send

__all__ = ["CLOSE_TIMEOUT", "Connection"]

logger = logging.getLogger("channels.consumer")

# Seconds to wait for the server's disconnect event after the application closed the socket.
# Servers allow the client about as long to answer the closing handshake (uvicorn: 10 s).
CLOSE_TIMEOUT = 20.0

# Handlers run in a row, without waiting, before other connections get their turn.
_BURST = 64

_DISCONNECTS = {"websocket": "websocket.disconnect", "http": "http.disconnect"}

# RFC 6455, section 7.4.1, and the registry that it founds
_NO_STATUS, _ABNORMAL, _CRASHED, _RESTARTING, _OVERLOADED = 1005, 1006, 1011, 1012, 1013


class Connection:
    """Runs one consumer for one scope."""

    __slots__ = (
        "_accepted",
        "_cancel_timer",
        "_close_timer",
        "_closed",
        "_code",
        "_consumer",
        "_disconnect_type",
        "_disconnected",
        "_ended",
        "_gone",
        "_handling",
        "_inbox",
        "_intake",
        "_loop",
        "_overdue",
        "_protocol",
        "_scope",
        "_send",
        "_started",
        "_task",
    )

    def __init__(self, consumer: Consumer, send: Send) -> None:
        self._consumer = consumer
        self._scope = consumer.scope
        self._send = send
        self._protocol: str = self._scope["type"]
        self._disconnect_type = _DISCONNECTS.get(self._protocol)
        self._loop = asyncio.get_running_loop()
        self._intake = Intake(self._disconnect_type, self._client_left)
        self._inbox: Inbox | None = None
        self._task: asyncio.Task[Any] | None = None
        self._cancel_timer: asyncio.TimerHandle | None = None
        self._close_timer: asyncio.TimerHandle | None = None
        self._handling: str | None = None  # the type of the message being handled
        self._overdue = False  # the running handler was cancelled: the client has gone
        self._started = 0.0  # when the first event was handled; 0 before that
        self._accepted = False  # a handshake was accepted, or a response started
        self._closed = False  # the application has sent its last
        self._gone = False  # the client has left
        self._disconnected = False  # the disconnect has been given to the consumer
        self._ended = False  # nothing more is to be handled
        self._code: int | None = None

    # The way out

    async def send(self, message: Message) -> None:
        """Send to the server, unless the client has gone or the socket was closed.

        What comes too late is dropped and signalled: handlers that serve other connections as
        well must not fail because of this one.
        """
        message_type = message["type"]
        if self._gone or (self._closed and self._protocol == "websocket"):
            signals.emit(
                signals.send_dropped,
                type(self._consumer),
                consumer=self._consumer,
                scope=self._scope,
                message_type=message_type,
            )
            return
        reading = False
        if message_type != "websocket.send":
            self._note(message_type, message)
        try:
            if message_type == "websocket.close":
                # Granian's close waits until nobody receives.
                reading = await self._intake.stop()
            await self._send(message)
        except OSError:
            # ASGI: servers raise a subclass of OSError when the client has disconnected.
            self._stop_caring()
            if not self._closed:
                self._expect_disconnect()
        except Exception:
            if message_type == "websocket.close":
                self._closed = False  # the server did not take it
            raise
        finally:
            if reading and not self._gone:
                self._intake.resume()

    def _note(self, message_type: str, message: Message) -> None:
        """Remember how far the handshake or the response has come."""
        if message_type in ("websocket.accept", "http.response.start"):
            self._accepted = True
        elif message_type == "websocket.close":
            self._closed = True
            self._code = message.get("code") or 1000
            self._expect_disconnect()
        elif message_type.endswith(".response.body") and not message.get("more_body"):
            self._closed = True
            self._expect_disconnect()

    def _expect_disconnect(self) -> None:
        """A disconnect event must follow; if the server sends none, go on without it."""
        if self._close_timer is None:
            self._close_timer = self._loop.call_later(CLOSE_TIMEOUT, self._disconnect_missing)

    def _disconnect_missing(self) -> None:
        self._client_left()
        self._intake.put(self._make_disconnect())

    def _client_left(self) -> None:
        """The client's disconnect has been read: stop sending, and bound the running handler."""
        self._stop_caring()
        if self._handling is not None:
            self._bound_handler()

    def _stop_caring(self) -> None:
        """Nothing more can be sent, so what the layer has for the client is of no use."""
        self._gone = True
        self._intake.inbox = None

    def _make_disconnect(self) -> Message:
        """The disconnect event that the server did not send."""
        if self._protocol == "websocket":
            code = _ABNORMAL if self._code is None else self._code
            return {"type": self._disconnect_type, "code": code}
        return {"type": self._disconnect_type}

    # The life

    async def run(self, receive: Receive, open_inbox: OpenInbox | None) -> None:
        """Run until the connection has ended, and leave nothing behind.

        Args:
            receive: the server's.
            open_inbox: given what wakes this connection, makes the consumer's inbox; None without
                a channel layer.

        Raises:
            Exception: what a handler raised, if the caller is no server; a server's client gets
                a close or an error response, and the log the traceback.
        """
        self._task = asyncio.current_task()
        database.watching.set(True)
        failure: BaseException | None = None
        try:
            if open_inbox is not None:
                self._inbox = self._intake.inbox = await open_inbox(self._intake.wake)
            self._intake.start(receive)
            await self._dispatch_all()
        except StopConsumer:
            pass
        except asyncio.CancelledError as cancelled:
            failure = cancelled
            if from_server(self._scope):
                await self._say_goodbye(_RESTARTING)
            else:
                self._stop_caring()
        except Exception as error:  # noqa: BLE001 - the boundary between framework and application
            await self._fail(error)
            if not from_server(self._scope):
                failure = error
        finally:
            await self._finish()
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame

    async def _dispatch_all(self) -> None:
        intake, inbox, burst = self._intake, self._inbox, 0
        while not self._ended:
            if inbox is not None and inbox.overflowed and not self._closed:
                await self._shed()
            message = intake.next()
            if message is None:
                if intake.failure is not None:
                    raise intake.failure
                burst = 0
                await intake.wait()
                continue
            burst += 1
            if burst >= _BURST:
                burst = 0
                await asyncio.sleep(0)
            await self._dispatch(message)

    async def _dispatch(self, message: Message) -> None:
        """Have one message handled, and see to what its handler leaves behind."""
        message_type = message.get("type")
        if message_type == self._disconnect_type:
            self._ended = self._disconnected = True
            if self._protocol == "websocket" and message.get("code") is None:
                message["code"] = _NO_STATUS if self._code is None else self._code
            self._code = message.get("code")
        if not self._started:
            self._open()
        if database.opened:
            await database.release()
        self._handling = message_type or "?"
        if self._gone and not self._disconnected:
            self._bound_handler()
        try:
            await self._consumer.dispatch(message)
        except UnknownMessageType as error:
            self._unhandled(error)
        except asyncio.CancelledError:
            if self._task is None or not self._overdue or self._task.cancelling() > 1:
                raise  # somebody else's
        finally:
            self._handling = None
            if self._cancel_timer is not None or self._overdue:
                self._unbind_handler()
        if database.opened:
            await database.release()
        if self._closed and self._protocol == "http":
            self._ended = True

    def _open(self) -> None:
        self._started = time.monotonic()
        consumer = self._consumer
        signals.emit(
            signals.connection_opened, type(consumer), consumer=consumer, scope=self._scope
        )

    def _unhandled(self, error: UnknownMessageType) -> None:
        """A message that no handler takes: one line, unless somebody is there to be told."""
        if self._disconnected:  # a consumer need not handle that
            return
        if not (self._intake.from_layer and from_server(self._scope)):
            raise error
        logger.warning("%s dropped a layer message: %s", self._who(), error)

    # A handler that outlives its client

    def _bound_handler(self) -> None:
        """Give the running handler its grace, unless it runs in a thread, which none can stop."""
        if self._cancel_timer is None and not getattr(self._consumer, "_sync", False):
            self._cancel_timer = self._loop.call_later(
                self._consumer.disconnect_grace, self._cancel_handler
            )

    def _unbind_handler(self) -> None:
        if self._cancel_timer is not None:
            self._cancel_timer.cancel()
            self._cancel_timer = None
        if self._overdue:
            self._overdue = False
            if self._task is not None:
                self._task.uncancel()

    def _cancel_handler(self) -> None:
        self._cancel_timer = None
        if self._handling is None or self._task is None or self._overdue:
            return
        logger.warning(
            "%s: the handler of %s was still running %g s after the client had gone; cancelled "
            "(disconnect_grace allows it longer)",
            self._who(),
            printable(self._handling),
            self._consumer.disconnect_grace,
        )
        signals.emit(
            signals.handler_cancelled,
            type(self._consumer),
            consumer=self._consumer,
            scope=self._scope,
            message_type=self._handling,
        )
        self._overdue = True
        self._task.cancel()

    # The end

    async def _shed(self) -> None:
        """The consumer could not keep up, and its layer's policy is to let the client go."""
        logger.warning("%s cannot keep up with its channel layer: disconnected", self._who())
        await self._say_goodbye(_OVERLOADED)

    async def _fail(self, error: Exception) -> None:
        """A handler raised: tell the log once, the listeners, and the client."""
        code = client_close_code(error)
        if not from_server(self._scope):
            self._code = code or _CRASHED
            self._stop_caring()  # whoever called gets the exception instead of a goodbye
            return
        if code is not None:
            logger.warning(
                "%s closed with %d: %s: %s",
                self._who(),
                code,
                type(error).__name__,
                printable(error),
            )
        elif isinstance(error, UnknownMessageType):
            logger.error("%s: %s", self._who(), error)
        else:
            logger.error("%s crashed", self._who(), exc_info=error)
        if code is None:
            signals.emit(
                signals.consumer_crashed,
                type(self._consumer),
                consumer=self._consumer,
                scope=self._scope,
                exception=error,
            )
        await self._say_goodbye(code or _CRASHED)

    async def _say_goodbye(self, code: int) -> None:
        """Close what is open, or refuse what was not accepted; a server that fails is let be."""
        if self._closed or self._gone:
            return
        self._code = code
        try:
            if self._protocol == "websocket" and self._accepted:
                await self._close_with(code)
            elif self._protocol in _DISCONNECTS and not self._accepted:
                self._closed = self._accepted = True
                refused = code == 1000 and self._protocol == "websocket"
                await respond(self._scope, self._send, status=403 if refused else 500)
        except Exception:
            logger.debug("%s: closing failed", self._who(), exc_info=True)

    async def _close_with(self, code: int) -> None:
        """Close with ``code``, or with 1000 on a server that takes it for the client's to send."""
        try:
            await self.send({"type": "websocket.close", "code": code})
        except Exception:  # noqa: BLE001 - Daphne: only 1000 and 3000 to 4999 (autobahn)
            await self.send({"type": "websocket.close"})
            self._code = code

    async def _finish(self) -> None:
        """Close, run ``disconnect`` if it has not been, and give everything back."""
        cancelled: asyncio.CancelledError | None = None
        for step in (self._intake.stop, self._leave, self._disconnect_once, self._close_inbox):
            try:
                await step()
            except asyncio.CancelledError as error:
                cancelled = error
            except StopConsumer:
                pass
            except Exception:
                logger.exception("%s failed while it was disconnecting", self._who())
        for timer in (self._cancel_timer, self._close_timer):
            if timer is not None:
                timer.cancel()
        self._cancel_timer = self._close_timer = self._task = None
        if self._started:
            signals.emit(
                signals.connection_closed,
                type(self._consumer),
                consumer=self._consumer,
                scope=self._scope,
                code=self._code,
                duration=time.monotonic() - self._started,
            )
        if cancelled is not None:
            raise cancelled

    async def _leave(self) -> None:
        """No application returns with its socket open."""
        if self._protocol == "websocket" or from_server(self._scope):
            await self._say_goodbye(1000)

    async def _disconnect_once(self) -> None:
        """Have the disconnect handled that no event has brought."""
        if self._started and not self._disconnected and self._disconnect_type is not None:
            await self._dispatch(self._make_disconnect())

    async def _close_inbox(self) -> None:
        if self._inbox is not None:
            inbox, self._inbox = self._inbox, None
            self._intake.inbox = None
            await inbox.close()

    def _who(self) -> str:
        """The consumer and where it was called, for the log."""
        name = type(self._consumer).__qualname__
        place = self._scope.get("path") or self._scope.get("channel") or self._protocol
        return f"{name} at {printable(place)}"

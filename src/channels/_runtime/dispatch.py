"""The life of one connection: from two sources, one stream of handler calls, and a certain end.

Two tasks: the server's, which reads the client (see intake.py), and one that runs every handler.
Middleware stands between the server and the first, and each of its coroutines has a part in waking
it; the second, which is woken for each message of a group, has none above it. What handlers send
goes through outlet.py.
"""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeGuard

from .. import signals
from ..exceptions import StopConsumer, UnknownMessageType
from . import clock, database, draining, timers
from .backstage import untold
from .connections import connections
from .consumer_signals import send_signal
from .denial import deny
from .exits import current_task
from .faults import (
    CRASHED,
    client_close_code,
    contained,
    explain,
    is_crash,
    log_about,
    origin,
    report,
)
from .intake import Intake
from .logtext import describe
from .outlet import OVERLOADED, RESTARTING, Outlet
from .running_handler import RunningHandler
from .scopes import from_server
from .turns import turn
from .types import Consumer, Mailbox, Message, OpenMailbox, Receive, Send

__all__ = ["CLOSE_TIMEOUT", "Connection"]

logger = logging.getLogger("channels.consumer")

# Seconds to wait for the server's disconnect event after the application closed the socket.
# Servers allow the client about as long to answer the closing handshake (some 10 s).
CLOSE_TIMEOUT = 20.0

# Seconds that a refusal under way may take when the connection ends.
_GOODBYE = 1.0

# Handlers run in a row, without waiting, before other connections get their turn.
_BURST = 64

_DISCONNECTS = {"websocket": "websocket.disconnect", "http": "http.disconnect"}

# As server and layer may spell them: what the client does, as the application is told.
_CLIENT_EVENTS = frozenset(
    {
        "websocket.receive",
        "websocket_receive",
        "websocket.disconnect",
        "websocket_disconnect",
        "websocket.connect",
        "websocket_connect",
        "http.disconnect",
        "http_disconnect",
    }
)

# RFC 6455, section 7.4.1
_NO_STATUS, _ABNORMAL = 1005, 1006
_NEVER_SENT = {1004, _NO_STATUS, _ABNORMAL, 1015}


class Connection:
    """Runs one consumer for one scope."""

    __slots__ = (
        "_cancelled",
        "_close_timer",
        "_complete",
        "_connections",
        "_consumer",
        "_disconnect_type",
        "_disconnected",
        "_draining",
        "_ended",
        "_handler",
        "_handshake_timer",
        "_intake",
        "_interrupted",
        "_loop",
        "_mailbox",
        "_outlet",
        "_protocol",
        "_raw_send",
        "_refusing",
        "_scope",
        "_started",
        "send",
    )

    def __init__(self, consumer: Consumer, send: Send) -> None:
        self._consumer = consumer
        self._scope = consumer.scope
        self._raw_send = send
        self._protocol: str = self._scope["type"]
        self._disconnect_type = _DISCONNECTS.get(self._protocol)
        self._loop = asyncio.get_running_loop()
        self._connections = connections.get()
        self._handler = RunningHandler(consumer)
        self._intake = Intake(self._disconnect_type, self._client_left, self._handler.limit)
        self._outlet = Outlet(
            consumer,
            send,
            self._intake,
            self._connections.pending_sends,
            disconnect_due=self._expect_disconnect,
            stalled=self._client_stalled,
        )
        #: Sends a message to the client.
        self.send: Send = self._outlet.send
        self._mailbox: Mailbox | None = None
        self._close_timer: timers.Timer | None = None
        self._handshake_timer: timers.Timer | None = None
        self._refusing: asyncio.Task[Any] | None = None
        self._started = 0.0  # when the first event was handled; 0 before that
        self._disconnected = False  # the disconnect has been given to the consumer
        self._draining = False  # to be ended, because the process ends
        self._complete = False  # the whole request has been handled
        self._ended = False  # nothing more is to be handled
        self._interrupted = False  # by Ctrl-C, where that raises KeyboardInterrupt
        self._cancelled = False  # by the server, or by whoever ends the event loop

    def __str__(self) -> str:
        return describe(self._consumer)

    # The client's end

    def _expect_disconnect(self) -> None:
        """A disconnect event must follow; if the server sends none, go on without it."""
        if self._close_timer is None:
            self._close_timer = timers.Timer(CLOSE_TIMEOUT, self._disconnect_missing)

    def _disconnect_missing(self) -> None:
        self._client_left()
        self._intake.put(self._make_disconnect())

    def _client_left(self) -> None:
        """The client's disconnect has been read: stop sending, and bound the running handler."""
        self._outlet.stop()
        self._handler.limit()

    def _client_stalled(self) -> None:
        self._outlet.code = OVERLOADED
        self._disconnect_missing()

    def _make_disconnect(self) -> Message:
        """The disconnect event that the server did not send."""
        if self._protocol == "websocket":
            code = self._outlet.code
            return {"type": self._disconnect_type, "code": _ABNORMAL if code is None else code}
        return {"type": self._disconnect_type}

    # The life

    async def run(self, receive: Receive, open_mailbox: OpenMailbox | None) -> None:
        """Run until the connection has ended, and leave nothing behind.

        Args:
            receive: the server's.
            open_mailbox: given what wakes this connection, makes the consumer's mailbox, or None
                without a channel layer.

        Raises:
            Exception: what a handler raised, if the caller is no server; a server's client gets
                a close or an error response, and the log the traceback.
        """
        self._outlet.begin(receive)
        if from_server(self._scope) and not await self._admit():
            return
        life = self._handler.task = untold(self._loop.create_task(self._live(open_mailbox)))
        try:
            await self._intake.read(receive)
        except asyncio.CancelledError:
            if not self._cancelled:
                life.cancel()
        try:
            await life
        except (KeyboardInterrupt, asyncio.CancelledError):
            if not self._interrupted:
                raise
            life.exception()  # the event loop has raised it; whoever runs it on lets all end
            cancelled = await self._cut(asyncio.CancelledError())
            await self._finish(cancelled)
            raise cancelled from None
        finally:
            self._connections.discard(self)
            del life  # what it raised refers to this frame

    async def _live(self, open_mailbox: OpenMailbox | None) -> None:
        """Run the handlers, and see to the end.

        Whatever they raise stays within: what this raises is for whoever called, if for anybody.
        """
        database.watching.set(True)
        failure: BaseException | None = None
        task = current_task()
        try:
            if open_mailbox is not None:
                self._mailbox = self._intake.mailbox = await open_mailbox(self._intake.wake)
            await self._dispatch_all()
        except StopConsumer:
            pass
        except BaseException as error:
            if current_task() is not task:  # nothing runs this any more, perhaps not even Python
                if isinstance(error, GeneratorExit):
                    raise
                return  # a handler has made something else of it
            if is_crash(error, task):
                failure = await self._fail(error)
            elif isinstance(error, asyncio.CancelledError):
                failure = await self._cut(error)
            else:  # Ctrl-C
                self._interrupted = isinstance(error, KeyboardInterrupt)
                raise
        failure = await self._finish(failure)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame

    async def _admit(self) -> bool:
        """Whether the connection may begin; it may not when the process is about to end."""
        if self._connections.refusing and self._protocol == "websocket":
            await deny(
                self._scope,
                self._raw_send,
                status=503,
                reason="this process is about to end",
                sender=type(self._consumer),
                level=logging.INFO,
            )
            return False
        draining.prepare(self._connections)
        self._connections.add(self)
        timeout = self._consumer.handshake_timeout
        if timeout is not None and self._protocol == "websocket":
            self._handshake_timer = timers.Timer(timeout, self._handshake_late, timeout)
        return True

    def _handshake_late(self, seconds: float) -> None:
        """Refuse a handshake that the consumer has left unanswered for so long."""
        self._handshake_timer = None
        outlet = self._outlet
        if not (outlet.accepted or outlet.closed or outlet.gone):
            outlet.closed = True  # what it answers from now on is dropped
            self._refusing = self._loop.create_task(
                self._attempt(partial(self._refuse_late, seconds))
            )

    async def _refuse_late(self, seconds: float) -> None:
        name = type(self._consumer).__qualname__
        reason = (
            f"{name} has neither accepted nor closed it within {seconds:g} s "
            "(a higher handshake_timeout waits longer)"
        )
        self._handler.cancel()
        sender = type(self._consumer)
        try:
            await deny(self._scope, self._raw_send, status=503, reason=reason, sender=sender)
        except Exception:
            logger.debug("%s: refusing failed", describe(self._consumer), exc_info=True)
        finally:
            self._disconnect_missing()

    async def _dispatch_all(self) -> None:
        intake, mailbox, outlet, burst = self._intake, self._mailbox, self._outlet, 0
        turns = self._connections.turns
        before: int | None = None  # tasks there were before the last handler; None after a turn
        while not self._ended:
            if mailbox is not None and mailbox.overflowed and not outlet.closed:
                await self._shed()
            if self._draining and not outlet.closed and await self._end_for_restart():
                break
            message = intake.next()
            if message is None:
                if intake.failure is not None:
                    raise intake.failure
                burst, before = 0, None
                await intake.wait()
                continue
            burst += 1
            if burst >= _BURST or (before is not None and turns.due(before)):
                burst = 0
                await turn()
            before = turns.count
            await self._dispatch(message)

    async def _dispatch(self, message: Message) -> None:
        """Have one message handled, and see to what its handler leaves behind."""
        message_type = message.get("type")
        if self._intake.from_layer and type(message_type) is str and message_type in _CLIENT_EVENTS:
            client_event = await self._from_layer(message)
            if client_event is None:
                return
            message, message_type = client_event, client_event["type"]
        dispatch = self._consumer.dispatch
        if message_type == self._disconnect_type:
            dispatch = getattr(self._consumer, "_dispatch_last", dispatch)
            self._ended = self._disconnected = True
            if self._protocol == "websocket":
                message["code"] = self._closed_with(message.get("code"))
            self._outlet.code = message.get("code")
        elif message_type == "http.request" and not message.get("more_body"):
            self._complete = True
        first = not self._started
        if first:
            self._open()
        if database.opened:
            await database.release()
        handler = self._handler
        if not self._disconnected:  # disconnect() may take its time
            handler.message_type = message_type or "?"
            if self._outlet.gone:
                handler.limit()
        try:
            await dispatch(message)
        except UnknownMessageType as error:
            self._unhandled(error)
        except asyncio.CancelledError:
            if not handler.was_cancelled_here():
                raise  # somebody else's
        finally:
            handler.message_type = None
            if handler.limited:
                handler.ended()
        if handler.skipped:
            handler.skipped = False
            if first:  # the consumer does not know of the client, who is to disconnect from nothing
                self._ended = self._disconnected = True
        if database.opened:
            await database.release()
        if self._outlet.closed and self._protocol == "http":
            self._ended = True

    async def _from_layer(self, message: Message) -> Message | None:
        """A client event that came through the layer, as the server would send it.

        Returns:
            The event, or None if it has been refused: a handshake has no second beginning.
        """
        event = message["type"].replace("_", ".", 1)
        if self._protocol != event.partition(".")[0]:
            return message  # an ordinary name in this protocol
        if event == self._disconnect_type:
            asked = message.get("code")
            code = asked if may_close_with(asked) else 1000
            if self._protocol == "websocket" and not self._disconnected:
                await self._outlet.say_goodbye(code, status=403)
            return {**message, "type": event, "code": code}
        if event == "websocket.connect":
            self._unhandled(UnknownMessageType(f"{event} comes from the server, and once"))
            return None
        if event == "websocket.receive" and not has_data(message):
            self._unhandled(UnknownMessageType(f"{event} has neither a text nor bytes"))
            return None
        return {**message, "type": event}

    def _closed_with(self, code: int | None) -> int:
        """The code for ``disconnect()``, of what the server says and the application has said.

        Servers do not agree on what they say when it was the application that closed.
        """
        said = self._outlet.code if self._outlet.accepted else None
        if said is not None and code in {None, 1000, _NO_STATUS, _ABNORMAL}:
            return said
        return _NO_STATUS if code is None else code

    def _open(self) -> None:
        self._started = clock.now()
        consumer = self._consumer
        send_signal(signals.connection_opened, consumer)

    def _unhandled(self, error: UnknownMessageType) -> None:
        """A message that no handler takes: one line, unless somebody is there to be told."""
        if self._disconnected:  # a consumer need not handle that
            return
        if not (self._intake.from_layer and from_server(self._scope)):
            raise error
        log_about(
            self._consumer,
            logging.WARNING,
            "unhandled",
            "%s dropped a layer message: %s",
            str(error),
        )

    # The end

    def drain(self) -> "asyncio.Task[Any] | None":
        """Begin to end, because the process is about to; who connects again finds another.

        An accepted WebSocket is closed at once, and so is a stream of events. A handshake or a
        request that is being handled is answered first.

        Returns:
            What closes it, to be kept until it is done, or None.
        """
        again, self._draining = self._draining, True
        outlet = self._outlet
        if not outlet.closed and not outlet.gone:
            if self._protocol == "websocket" and outlet.accepted:
                return self._loop.create_task(
                    self._attempt(partial(outlet.say_goodbye, RESTARTING))
                )
            if self._protocol == "http" and outlet.endless:
                return self._loop.create_task(self._attempt(self._end_response))
        if not again:
            self._intake.wake()
        return None

    async def _end_for_restart(self) -> bool:
        """Between two handlers, end what :meth:`drain` has left; whether nothing is to follow."""
        accepted = self._outlet.accepted
        if self._protocol == "http":
            if not self._complete:  # it is still being received
                return False
            if accepted:
                await self._end_response()
                return False
        await self._outlet.say_goodbye(RESTARTING, status=503)
        return not accepted

    async def _end_response(self) -> None:
        await self._outlet.end_response()
        self._disconnect_missing()

    async def _shed(self) -> None:
        """The consumer could not keep up, and its layer's policy is to let the client go."""
        text = "%s cannot keep up with its channel layer: disconnected"
        log_about(self._consumer, logging.WARNING, "overflowed", text)
        await self._outlet.say_goodbye(OVERLOADED)

    async def _fail(self, error: BaseException) -> Exception | None:
        """A handler raised: tell the log once, the listeners, and the client.

        Returns:
            What is to be raised to whoever called, if that is no server.
        """
        code = CRASHED
        try:
            explain(self._consumer, error)
            if from_server(self._scope):
                code = report(self._consumer, error, of_client=not self._intake.from_layer)
        except Exception as failure:  # noqa: BLE001 - of whatever a project has put in the way
            self._cannot_tell(failure)
        if from_server(self._scope):
            await self._attempt(partial(self._outlet.say_goodbye, code))
            return None
        # Whoever called gets the exception instead of a goodbye.
        self._outlet.code = client_close_code(error) or CRASHED
        self._outlet.stop()
        return contained(error, describe(self._consumer))

    def _cannot_tell(self, failure: Exception) -> None:
        """A crash could not be told of as usual, which must not keep the connection from ending."""
        message = f"{type(self._consumer).__qualname__} crashed, and to say so failed as well"
        self._loop.call_exception_handler({"message": message, "exception": failure})

    async def _cut(self, error: asyncio.CancelledError) -> asyncio.CancelledError:
        """The task was cancelled: say goodbye, and return what is to be raised."""
        self._cancelled = True
        if from_server(self._scope):
            await self._attempt(partial(self._outlet.say_goodbye, RESTARTING))
        else:
            self._outlet.stop()
        return error

    async def _finish(self, failure: BaseException | None) -> BaseException | None:
        """Close, run ``disconnect`` if it has not been, and give everything back.

        Args:
            failure: what is to be raised when this is done.

        Returns:
            The same, or if there was none, the cancellation that has come meanwhile.
        """
        for step in (self._intake.end, self._leave, self._disconnect_once, self._close_mailbox):
            cancelled = await self._attempt(step)
            if failure is None:
                failure = cancelled
        for timer in (self._close_timer, self._handshake_timer):
            if timer is not None:
                timer.cancel()
        self._handler.ended()
        self._handler.task = self._close_timer = self._handshake_timer = self._refusing = None
        if self._started:
            signals.emit(
                signals.connection_closed,
                type(self._consumer),
                consumer=self._consumer,
                scope=self._scope,  # as the server made it, whatever the consumer has in its place
                code=self._outlet.code,
                duration=clock.now() - self._started,
            )
        return failure

    async def _attempt(self, step: Callable[[], Awaitable[Any]]) -> BaseException | None:
        """Take a step towards the end, and whatever comes of it, let the next be taken.

        Returns:
            The cancellation that was requested meanwhile, if one was.
        """
        task = asyncio.current_task()
        asked = task.cancelling() if task is not None else 0
        try:
            await step()
        except StopConsumer:
            pass
        except BaseException as error:
            if not is_crash(error, task, asked):
                if isinstance(error, asyncio.CancelledError):
                    return error
                raise
            try:
                explain(self._consumer, error)
                kind, text = f"leaving {origin(error)}", "%s failed while it was disconnecting"
                log_about(self._consumer, logging.ERROR, kind, text, exc_info=error)
                if from_server(self._scope):
                    send_signal(signals.consumer_crashed, self._consumer, exception=error)
            except Exception as failure:  # noqa: BLE001 - see _fail()
                self._cannot_tell(failure)
        return None

    async def _leave(self) -> None:
        """No application returns with its socket open."""
        if self._refusing is not None:
            await asyncio.wait((self._refusing,), timeout=_GOODBYE)
        if self._protocol == "websocket" or from_server(self._scope):
            await self._outlet.say_goodbye(1000)

    async def _disconnect_once(self) -> None:
        """Have the disconnect handled that no event has brought."""
        if self._started and not self._disconnected and self._disconnect_type is not None:
            await turn()  # for what the last handler has started
            await self._dispatch(self._make_disconnect())

    async def _close_mailbox(self) -> None:
        if self._mailbox is not None:
            mailbox, self._mailbox = self._mailbox, None
            self._intake.mailbox = None
            await mailbox.close()


def may_close_with(code: Any) -> TypeGuard[int]:
    """Whether an application can close a WebSocket with ``code`` (RFC 6455, section 7.4)."""
    return type(code) is int and 1000 <= code < 5000 and code not in _NEVER_SENT


def has_data(message: Message) -> bool:
    """Whether ``message`` has what a frame has: a text, or bytes."""
    return isinstance(message.get("text"), str) or isinstance(message.get("bytes"), bytes)

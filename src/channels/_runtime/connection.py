"""The life of one connection, from the first event to a certain end.

Two tasks: the server's, which reads the client (see intake.py), and one that runs every handler
(see dispatch.py). Middleware stands between the server and the first, and each of its coroutines
has a part in waking it; the second, which is woken for each message of a group, has none above it.
"""

import asyncio
import logging
import threading
from collections.abc import Awaitable, Callable
from functools import partial
from typing import Any, TypeVar, cast

from .. import signals
from ..exceptions import StopConsumer
from . import clock, database, draining, lag, timers
from .background import Background
from .backstage import untold
from .connections import connections
from .consumer_signals import send_signal
from .denial import deny
from .dispatch import Dispatcher
from .entry import may_enter
from .exits import current_task
from .faults import (
    CRASHED,
    attempt,
    client_close_code,
    client_words,
    contained,
    is_crash,
    tell_crash,
)
from .handshake import HandshakeLimit
from .intake import Intake
from .lifecycle import OPEN, REFUSED, RESTARTING, Lifecycle, disconnect_type
from .logtext import describe
from .metering import Metering
from .outlet import Outlet
from .running_handler import RunningHandler
from .scopes import CREDENTIAL, from_server
from .tallies import tally_of
from .tenure import Tenure
from .turns import turn
from .types import Consumer, Guard, Mailbox, OpenMailbox, Receive, Scope, Send

__all__ = ["RESPONSE_GRACE", "Connection"]

_B = TypeVar("_B", bound=Background)

_making = threading.Lock()

#: Seconds that a response which has begun may go on when its user may not.
RESPONSE_GRACE = 1.0


class Connection:
    """Runs one consumer for one scope."""

    __slots__ = (
        "_cancelled",
        "_connections",
        "_consumer",
        "_dispatcher",
        "_guard",
        "_handler",
        "_handshake_limit",
        "_intake",
        "_life",
        "_mailbox",
        "_metering",
        "_outlet",
        "_raw_send",
        "_scope",
        "_tenure",
        "send",
    )

    def __init__(self, consumer: Consumer, send: Send) -> None:
        self._consumer = consumer
        self._scope = consumer.scope
        self._raw_send = send
        self._connections = here = connections.get()
        protocol: str = self._scope["type"]
        self._handler = handler = RunningHandler(consumer)
        self._intake = intake = Intake(disconnect_type(protocol))
        self._life = life = Lifecycle(protocol, intake, handler)
        tally = tally_of(consumer)
        self._outlet = outlet = Outlet(consumer, send, life, intake, here.pending_sends, tally)
        self._dispatcher = Dispatcher(consumer, life, intake, outlet, handler, here.turns, tally)
        #: Sends a message to the client.
        self.send: Send = outlet.send
        self._mailbox: Mailbox | None = None
        self._handshake_limit: HandshakeLimit | None = None
        self._guard: Guard | None = None
        self._metering: Metering | None = None
        self._tenure: Tenure | None = None
        # The task that runs the handlers was cancelled: the server or the event loop ends.
        self._cancelled = False

    def __str__(self) -> str:
        return describe(self._consumer)

    async def run(self, receive: Receive, open_mailbox: OpenMailbox) -> None:
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
        if signals.handshake_finished.receivers and self._life.protocol == "websocket":
            self._life.watch_handshake(partial(self._tell_handshake, clock.now()))
        if from_server(self._scope) and not await self._admit(receive):
            self._life.not_admitted()
            return
        if self._metering is not None:
            receive = self._metering.receive
        credential = self._scope.get(CREDENTIAL)
        if credential is not None:
            self._tenure = tenure = Tenure(
                credential, self._consumer, receive, self._outlet, self.disconnect
            )
            if self._life.protocol == "websocket":
                receive = tenure.receive
        loop = asyncio.get_running_loop()
        task = self._handler.task = untold(loop.create_task(self._live(open_mailbox)))
        try:
            await self._intake.read(receive, self._life.reading_ended, self._outlet.answer_probe)
        except asyncio.CancelledError:
            if not self._cancelled:
                task.cancel()
        try:
            await task
        except (KeyboardInterrupt, asyncio.CancelledError):
            if not _was_interrupted(task):
                raise
            # The event loop has raised it too. Whatever runs the loop on does so to end it.
            cancelled = await self._cancel(asyncio.CancelledError())
            await self._finish(cancelled)
            raise cancelled from None
        finally:
            self._connections.discard(self)
            if self._guard is not None:
                self._guard.release()
            del task  # what it raised refers to this frame

    def _tell_handshake(self, began: float, outcome: str) -> None:
        seconds = clock.now() - began
        send_signal(signals.handshake_finished, self._consumer, outcome=outcome, seconds=seconds)

    async def _admit(self, receive: Receive) -> bool:
        """Whether the connection may begin: not beyond a limit, nor in a process that ends."""
        if self._connections.refusing and self._life.protocol == "websocket":
            await deny(
                self._scope,
                self._raw_send,
                status=503,
                reason="this process is about to end",
                sender=type(self._consumer),
                level=logging.INFO,
            )
            return False
        if not await self._is_within_limits(receive):
            return False
        draining.prepare(self._connections)
        lag.watch()
        self._connections.add(self)
        seconds = self._consumer.handshake_timeout
        if seconds is not None and self._life.protocol == "websocket":
            self._handshake_limit = HandshakeLimit(
                seconds, self._consumer, self._raw_send, self._life, self._handler
            )
        return True

    async def _is_within_limits(self, receive: Receive) -> bool:
        """Whether the limits let the connection in, to which it is held from now on."""
        consumer = self._consumer
        guard = consumer._channels_make_guard()
        if guard is None:
            return True
        if not await guard.admits(receive, self._raw_send, type(consumer)):
            return False
        self._guard = guard
        if guard.meters and self._life.protocol == "websocket":
            self._metering = Metering(receive, guard, consumer, self._intake, self._outlet)
        return True

    async def _live(self, open_mailbox: OpenMailbox) -> None:
        """Run the handlers, and then end the connection.

        What handlers raise stays within. What this raises is for the caller, if it is no server.
        """
        database.watching.set(True)
        failure: BaseException | None = None
        task = current_task()
        try:
            if await self._may_enter():
                self._mailbox = self._intake.mailbox = await open_mailbox(self._intake.wake)
                await self._dispatcher.run(self._mailbox)
        except StopConsumer:
            pass
        except BaseException as error:
            if current_task() is not task:  # nothing runs this any more, perhaps not even Python
                if isinstance(error, GeneratorExit):
                    raise
                return  # a handler has turned the GeneratorExit into another exception
            if is_crash(error, task):
                failure = await self._crash(error)
            elif isinstance(error, asyncio.CancelledError):
                failure = await self._cancel(error)
            else:  # Ctrl-C
                raise
        failure = await self._finish(failure)
        if failure is not None:
            try:
                raise failure
            finally:
                del failure  # it refers to this frame

    async def _may_enter(self) -> bool:
        """Whether the consumer's permissions let the client in. A worker has no client."""
        rule = self._consumer._channels_entry_rule() if self._life.protocol != "channel" else None
        if rule is None:
            return True
        return await may_enter(
            rule, self._consumer, self._life, self._intake, self._handler, self._raw_send
        )

    def background(self, kind: type[_B]) -> _B:
        """What runs beside the handlers, made when it is first asked for. From any thread.

        Args:
            kind: the class of it; one connection has one.
        """
        dispatcher = self._dispatcher
        background = dispatcher.background
        if background is None:
            over = dispatcher.background_over
            background = kind(self._consumer, self._scope, self._life, self._intake, over=over)
            with _making:  # the consumer's threads may ask for it at the same time
                if dispatcher.background is None:  # pragma: no branch - or it is another's
                    dispatcher.background = background
                background = dispatcher.background
        return cast("_B", background)

    @property
    def consumer(self) -> Consumer:
        """The consumer."""
        return self._consumer

    @property
    def scope(self) -> Scope:
        """Its scope, with what the consumer has changed in it."""
        return self._consumer.scope

    @property
    def channel_name(self) -> str | None:
        """The name of its channel; None if there is no layer, or not yet."""
        return getattr(self._consumer, "channel_name", None)

    @property
    def opened_at(self) -> float | None:
        """When the consumer was given its first event (:func:`.clock.now`); None before that."""
        return self._life.opened_at

    def unsent(self) -> int | None:
        """Bytes that are kept for the client, which has not acknowledged them; None if unknown."""
        return self._outlet.unsent()

    # The end

    @property
    def is_event_stream(self) -> bool:
        """Whether the response is a stream of events, which has begun."""
        return self._life.event_stream

    def drain(self) -> "asyncio.Task[Any] | None":
        """Begin to end because the process is about to; clients that come back find another.

        An accepted WebSocket is closed at once, and so is a stream of events. A handshake or a
        request that is being handled is answered first.

        Returns:
            The task that closes it, to be kept until it is done, or None.
        """
        life = self._life
        again = life.interrupted
        life.drain_requested()
        if life.phase < REFUSED:
            step: Callable[[], Awaitable[None]] | None = None
            if life.protocol == "websocket" and life.phase is OPEN:
                step = partial(self._outlet.say_goodbye, RESTARTING)
            elif life.event_stream:
                step = self._dispatcher.end_response
            if step is not None:
                return asyncio.get_running_loop().create_task(self._attempt(step))
        if not again:
            self._intake.wake()
        return None

    def disconnect(self, code: int, reason: str) -> "asyncio.Task[Any] | None":
        """Begin to end because its user may not go on, whatever handler runs.

        An accepted WebSocket is closed, and what its client has sent before is not handled any
        more. A handshake is refused with 401. A stream of events ends. Another response that has
        begun gets a moment to end by itself (it may tell of the very sign-out), and is broken off
        then; one that has not begun is left to its handler.

        Args:
            code: the code to close a WebSocket with.
            reason: for the client of a WebSocket, where the server can tell it.

        Returns:
            The task that ends it, to be kept until it is done; None if there is nothing to end.
        """
        if self._life.phase >= REFUSED:
            return None
        ending = self._end_websocket if self._life.protocol == "websocket" else self._end_response
        return asyncio.get_running_loop().create_task(self._attempt(partial(ending, code, reason)))

    async def _end_websocket(self, code: int, reason: str) -> None:
        self._intake.refuse()
        await self._outlet.say_goodbye(code, status=401, reason=reason)

    async def _end_response(self, code: int, reason: str) -> None:
        life = self._life
        if not life.event_stream:
            await timers.sleep(RESPONSE_GRACE)
        if life.phase is OPEN:
            await self._outlet.say_goodbye(code)
            life.disconnect_missing()

    async def _crash(self, error: BaseException) -> Exception | None:
        """A handler raised: tell the log once, the listeners, and the client.

        Returns:
            The exception to raise to the caller, if that is no server.
        """
        from_client = not self._intake.from_layer
        background = self._dispatcher.background
        if background is not None:
            background.told(error)
        code = tell_crash(self._consumer, self._scope, error, of_client=from_client)
        if from_server(self._scope):
            words = client_words(error) if from_client else {}
            await self._attempt(partial(self._outlet.say_goodbye, code, **words))
            return None
        # The caller gets the exception instead of a close.
        self._life.ending(client_close_code(error) or CRASHED)
        self._life.abandoned()
        return contained(error, describe(self._consumer))

    async def _cancel(self, error: asyncio.CancelledError) -> asyncio.CancelledError:
        """The task was cancelled: close the socket, and return the exception to raise."""
        self._cancelled = True
        if from_server(self._scope):
            await self._attempt(partial(self._outlet.say_goodbye, RESTARTING))
        else:
            self._life.abandoned()
        return error

    async def _finish(self, failure: BaseException | None) -> BaseException | None:
        """End the connection: each step is taken, whatever becomes of the one before.

        Args:
            failure: the exception to raise when this is done.

        Returns:
            The same, or if there was none, the cancellation that has come meanwhile.
        """
        steps = (
            self._intake.end,
            self._close,
            self._dispatcher.end_background,
            self._settle,
            self._disconnect,
            self._close_mailbox,
        )
        for step in steps:
            cancelled = await self._attempt(step)
            if failure is None:
                failure = cancelled
        life, background = self._life, self._dispatcher.background
        if background is not None:
            background.leave()
        life.ended()
        self._handler.ended()
        self._handler.task = None
        if life.opened_at is not None:
            signals.emit(
                signals.connection_closed,
                type(self._consumer),
                consumer=self._consumer,
                scope=self._scope,  # as the server made it, whatever the consumer has in its place
                code=life.code,
                duration=clock.now() - life.opened_at,
            )
        return failure

    async def _attempt(self, step: Callable[[], Awaitable[Any]]) -> asyncio.CancelledError | None:
        return await attempt(self._consumer, self._scope, step)

    async def _close(self) -> None:
        """Close the socket: no application returns with it open."""
        if self._handshake_limit is not None:
            await self._handshake_limit.finish()
            self._handshake_limit = None
        if self._metering is not None:
            await self._metering.finish()
        if self._tenure is not None:
            self._tenure.finish()
            self._tenure = None
        self._outlet.stop_answering()
        if self._life.protocol == "websocket" or from_server(self._scope):
            await self._outlet.say_goodbye(1000)

    async def _settle(self) -> None:
        """Let what the last handler has started begin, as before any other handler."""
        if self._life.disconnect_owed:
            await turn()
        if database.opened:
            await database.release()

    async def _disconnect(self) -> None:
        """Give the consumer its disconnect, if no event has brought it."""
        life = self._life
        if life.disconnect_owed:
            await self._dispatcher.disconnect(life.make_disconnect())
        elif life.protocol == "channel" and life.opened_at is not None:
            await self._consumer._channels_shut_down()
            if database.opened:
                await database.release()

    async def _close_mailbox(self) -> None:
        """Close the consumer's channel, which leaves all its groups."""
        if self._mailbox is not None:
            mailbox, self._mailbox = self._mailbox, None
            self._intake.drop_mailbox()
            await mailbox.close()


def _was_interrupted(task: "asyncio.Task[Any]") -> bool:
    """Whether Ctrl-C has ended ``task``, where that raises ``KeyboardInterrupt``."""
    return task.done() and not task.cancelled() and isinstance(task.exception(), KeyboardInterrupt)

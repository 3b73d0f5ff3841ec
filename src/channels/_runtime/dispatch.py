"""Runs the handlers of one consumer: for client events and layer messages, one at a time.

What goes out meanwhile goes through outlet.py, and how far the connection has come is in
lifecycle.py. connection.py begins it and sees to the end.
"""

import asyncio
import contextlib
import logging

from .. import signals
from ..exceptions import StopConsumer, UnknownMessageType
from ..signals import listened
from . import database
from .background import Background
from .carried import KEY, take
from .consumer_signals import send_signal
from .faults import log_about
from .intake import Intake
from .layer_events import CLIENT_EVENTS, client_event
from .lifecycle import CLOSED, OPEN, OVERLOADED, REFUSED, RESTARTING, Lifecycle
from .observing import CONTENT, observe
from .outlet import Outlet
from .running_handler import RunningHandler
from .scopes import from_server
from .tallies import OTHER, QUICK, Tally, size_of
from .turns import Turns, turn
from .types import Consumer, Mailbox, Message

__all__ = ["Dispatcher"]

# Handlers run in a row, without waiting, before other connections get their turn.
_BURST = 64


class Dispatcher:
    """Gives every message to the consumer.

    Args:
        consumer: the consumer.
        life: how far the connection has come.
        intake: where the messages come from.
        outlet: what goes out.
        handler: the handler that runs.
        turns: counts the tasks that handlers create.
        tally: where messages and the time of handlers are counted, if they are.
    """

    __slots__ = (
        "_carries",
        "_consumer",
        "_handler",
        "_intake",
        "_life",
        "_outlet",
        "_scope",
        "_tally",
        "_turns",
        "background",
        "background_over",
    )

    def __init__(
        self,
        consumer: Consumer,
        life: Lifecycle,
        intake: Intake,
        outlet: Outlet,
        handler: RunningHandler,
        turns: Turns,
        tally: Tally | None = None,
    ) -> None:
        self._consumer = consumer
        self._scope = consumer.scope
        self._life = life
        self._intake = intake
        self._outlet = outlet
        self._handler = handler
        self._turns = turns
        self._tally = tally
        # Whether the message before carried anything, which is to be forgotten.
        self._carries = False
        #: What runs beside the handlers; None until the consumer starts the first of it.
        self.background: Background | None = None
        #: Whether nothing of that may be started any more.
        self.background_over = False

    async def run(self, mailbox: Mailbox | None) -> None:
        """Handle messages until nothing more is to be handled.

        Args:
            mailbox: the consumer's, or None without a channel layer.

        Raises:
            BaseException: what a handler raises, or what reading the client has raised.
        """
        life, intake, turns, burst = self._life, self._intake, self._turns, 0
        before: int | None = None  # tasks there were before the last handler; None after a turn
        while True:
            if mailbox is not None and mailbox.overflowed and life.phase < REFUSED:
                await self._disconnect_overloaded()
            if life.interrupted and life.phase < REFUSED and await self._interrupt():
                return
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
            if not await self._handle(message):
                return

    async def _handle(self, message: Message) -> bool:
        """Run the handler of one message; False if nothing more is to be handled."""
        life, intake, handler = self._life, self._intake, self._handler
        message_type = message.get("type")
        if intake.from_layer and type(message_type) is str and message_type in CLIENT_EVENTS:
            try:
                message = client_event(message, life.protocol)
            except UnknownMessageType as error:
                self._unhandled(error)
                return True
            message_type = message["type"]
        if database.opened:
            await database.release()
        if message_type == life.disconnect_type and message_type is not None:
            if intake.from_layer and life.protocol == "websocket":
                code, reason = message["code"], message.get("reason") or ""
                await self._outlet.say_goodbye(code, status=403, reason=reason)
            await self.end_background()
            await self.disconnect(message)
            return False
        if message_type == "http.request" and not message.get("more_body"):
            life.request_read()
        is_first = life.opened_at is None
        if is_first:
            self._open()
        if self._carries or KEY in message:
            self._carries = take(message)
        handler.message_type = message_type or "?"
        if life.phase >= CLOSED:
            handler.limit()
        tally = self._tally
        if tally is not None:
            if not intake.from_layer and message_type in CONTENT:
                text: str = message.get("text") or ""
                tally.received += 1
                tally.received_bytes += len(text) if text and text.isascii() else size_of(message)
            clock = tally.now
            began = clock()
        try:
            observation = None
            if listened.messages:
                source = "layer" if intake.from_layer else "client"
                observation = observe(self._consumer, message, source)
            if observation is None:
                await self._consumer.dispatch(message)
            else:
                await observation.call(self._consumer.dispatch, message)
        except UnknownMessageType as error:
            message_type = OTHER
            self._unhandled(error)
        except asyncio.CancelledError:
            if not handler.was_cancelled_here():
                raise
        finally:
            if tally is not None:
                seconds = clock() - began
                try:
                    latency = tally.spelled[message_type]
                except (KeyError, TypeError):  # it is the first of its type; its type is a list
                    latency = tally.latency_of(message_type)
                if seconds <= QUICK:  # as Latency.observe() does, without a call
                    latency.quick += 1
                    latency.seconds += seconds
                else:
                    latency.observe(seconds)
            handler.message_type = None
            if handler.limited:
                handler.ended()
        if handler.skipped:
            handler.skipped = False
            if is_first:
                life.first_event_skipped()
                return False
        if database.opened:
            await database.release()
        # A response that is complete leaves nothing to handle. A WebSocket's disconnect follows.
        return life.protocol != "http" or not REFUSED <= life.phase <= CLOSED

    async def disconnect(self, message: Message) -> None:
        """Give the consumer its disconnect event.

        The handler is called at once. A cancellation before that would leave the event owed.

        Raises:
            BaseException: what the handler raises.
        """
        life = self._life
        if life.opened_at is None:
            self._open()
        if self._carries or KEY in message:
            self._carries = take(message)
        code = life.disconnecting(message.get("code"))
        if life.protocol == "websocket":
            message["code"] = code
        dispatch = getattr(self._consumer, "_channels_dispatch_last", self._consumer.dispatch)
        with contextlib.suppress(UnknownMessageType, StopConsumer):  # a consumer need not handle it
            observation = observe(self._consumer, message, "client") if listened.messages else None
            await (
                dispatch(message) if observation is None else observation.call(dispatch, message)
            )
        if database.opened:
            await database.release()

    async def end_background(self) -> None:
        """End what runs beside the handlers. From now on, nothing more can be started."""
        self.background_over = True
        if self.background is not None:
            await self.background.end()

    def _open(self) -> None:
        self._life.opened()
        send_signal(signals.connection_opened, self._consumer)

    def _unhandled(self, error: UnknownMessageType) -> None:
        """No handler takes a message: one line if it came through the layer.

        Raises:
            UnknownMessageType: it came from the client, or there is a caller to be told.
        """
        if not (self._intake.from_layer and from_server(self._scope)):
            raise error
        text = "%s dropped a layer message: %s"
        log_about(self._consumer, logging.WARNING, "unhandled", text, str(error))

    async def _disconnect_overloaded(self) -> None:
        """Disconnect a consumer that could not keep up, as its layer's overflow policy says."""
        text = "%s cannot keep up with its channel layer: disconnected"
        log_about(self._consumer, logging.WARNING, "overflowed", text)
        await self._outlet.say_goodbye(OVERLOADED)

    async def _interrupt(self) -> bool:
        """End, between two handlers, because a background task has failed, or the process ends.

        Returns:
            Whether nothing more is to be handled.

        Raises:
            BaseException: what a background task has raised.
        """
        life = self._life
        failure = None if self.background is None else self.background.take_failure()
        if failure is not None:
            self._intake.from_layer = True  # not the client is to blame
            try:
                raise failure
            finally:
                del failure  # it refers to this frame
        is_open = life.phase is OPEN
        if life.protocol == "http":
            if not life.request_complete:  # it is still being received
                return False
            if is_open:
                await self.end_response()
                return False
        await self._outlet.say_goodbye(RESTARTING, status=503)
        return not is_open

    async def end_response(self) -> None:
        """End a response that is under way, and then the connection."""
        await self._outlet.end_response()
        self._life.disconnect_missing()

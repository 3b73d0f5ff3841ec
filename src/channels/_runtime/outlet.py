"""What goes out of one connection: until its last message, and as long as its client reads."""

import asyncio
import logging
from collections.abc import Awaitable, Generator, Iterator
from types import CoroutineType, coroutine
from typing import Any

from .. import signals
from ..signals import listened
from .backstage import untold
from .consumer_signals import send_signal
from .denial import respond
from .faults import log_about
from .intake import Intake
from .lifecycle import CLOSED, CONNECTING, OPEN, REFUSED, Lifecycle
from .logtext import describe
from .pending_sends import PendingSend, PendingSends
from .servers import Server, adapter_for, begins_with_help
from .tallies import Tally, size_of
from .turns import turn
from .types import Consumer, Message, Receive, Send

__all__ = ["Outlet", "start_inline"]

logger = logging.getLogger("channels.consumer")

# What carries something of the application to the client.
_CONTENT = frozenset({"websocket.send", "http.response.body"})

# A server that takes a message at once, as uvicorn does while it has room, lets nobody else have a
# turn, and compresses meanwhile. So after so many bytes, of which each message counts for some
# more, the event loop has one: it has stood for a few milliseconds then. To add up the bytes of
# every message would cost more than the turns: all until the next turn count as the last one.
_MOST_IN_A_ROW = 2**16
_EACH = 2**10

# What a client gets for intake.PROBE.
_ANSWER = '{"type":"channels.pong"}'


class Outlet:
    """Sends what a consumer says, and reports how far the handshake or the response has come.

    Args:
        consumer: the consumer that sends.
        send: the server's.
        life: how far the connection has come.
        intake: what reads the same client.
        pending_sends: where sends are noted while they wait for the client.
        tally: where messages are counted, if they are.
    """

    __slots__ = (
        "_answering",
        "_before_turn",
        "_consumer",
        "_intake",
        "_is_measured",
        "_life",
        "_pending_sends",
        "_protocol",
        "_raw_send",
        "_receive",
        "_send",
        "_server",
        "_tally",
        "given_up",
    )

    def __init__(
        self,
        consumer: Consumer,
        send: Send,
        life: Lifecycle,
        intake: Intake,
        pending_sends: PendingSends,
        tally: Tally | None = None,
    ) -> None:
        self._consumer = consumer
        self._raw_send = send
        self._send = send
        self._receive: Receive | None = None
        self._server: Server | None = None
        self._life = life
        self._intake = intake
        self._protocol = life.protocol
        self._pending_sends = pending_sends
        self._tally = tally
        # Sends an answer to a probe, until the client has taken it.
        self._answering: asyncio.Task[None] | None = None
        # Messages that may be sent before others have their turn. First the one that begins the
        # connection and another one, which tells how many may follow.
        self._before_turn, self._is_measured = 2, False
        #: Sends that were given up, while their task has not noticed yet.
        self.given_up: tuple[Awaitable[None], ...] = ()

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
        """Seconds for which the client may read nothing; None for any time."""
        return self._consumer.send_timeout

    async def send(self, message: Message) -> None:
        """Send to the server, unless the client has left or the socket was closed.

        What comes too late is dropped and signalled: handlers that serve other connections as
        well must not fail because of this one.
        """
        message_type = message["type"]
        life = self._life
        if life.phase >= REFUSED and (
            life.phase >= CLOSED or self._protocol == "websocket" or life.event_stream
        ):
            self._drop(message_type)
            return
        reading = False
        if message_type != "websocket.send":
            self._report(message_type, message)
        try:
            if message_type == "websocket.close" and self._adapter().close_waits_for_receive:
                reading = await self._intake.stop()
            sending = start_inline(self._send(message))
            if sending is None:
                tally = self._tally
                if tally is None:
                    if listened.signals:
                        self._was_taken(message_type, message)
                else:
                    text = message.get("text")
                    if text is None or text is _ANSWER or listened.signals:
                        self._was_taken(message_type, message)
                    else:  # the same, for what is sent most
                        tally.sent += 1
                        tally.sent_bytes += len(text) if text.isascii() else size_of(message)
                self._before_turn = left = self._before_turn - 1
                if not left:
                    self._before_turn = _MOST_IN_A_ROW // (size_of(message) + _EACH) or 1
                    if self._is_measured:
                        await turn()
                    self._is_measured = True
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
            else:
                if self._tally is not None or listened.signals:
                    self._was_taken(message_type, message)
            finally:
                del self._pending_sends[sending]
        except OSError:
            # ASGI: servers raise a subclass of OSError when the client has disconnected.
            life.send_failed()
        except Exception:
            if message_type == "websocket.close":
                life.close_failed()
            raise
        finally:
            if reading:
                self._intake.resume()

    def _report(self, message_type: str, message: Message) -> None:
        """Report what ``message`` does to the handshake or the response."""
        if message_type == "websocket.accept":
            self._life.accepted()
        elif message_type == "http.response.start":
            self._life.accepted(event_stream=_is_event_stream(message))
        elif message_type == "websocket.close":
            self._life.closed(message.get("code") or 1000)
        elif message_type.endswith(".response.body") and not message.get("more_body"):
            self._life.closed()

    def _was_taken(self, message_type: str, message: Message) -> None:
        """The server has taken ``message``: note that for those that want to know."""
        if message_type not in _CONTENT or message.get("text") is _ANSWER:
            return
        size = size_of(message)
        if self._tally is not None:
            self._tally.sent += 1
            self._tally.sent_bytes += size
        if signals.message_sent.receivers:
            consumer = self._consumer
            send_signal(signals.message_sent, consumer, message_type=message_type, size=size)

    def _drop(self, message_type: str) -> None:
        send_signal(signals.send_dropped, self._consumer, message_type=message_type)

    def answer_probe(self) -> None:
        """Tell the client that this end is there. One answer at a time waits for the client."""
        if self._life.phase is OPEN and (self._answering is None or self._answering.done()):
            self._answering = untold(asyncio.get_running_loop().create_task(self._answer_probe()))

    async def _answer_probe(self) -> None:
        try:
            if self._life.phase is OPEN:
                await self.send({"type": "websocket.send", "text": _ANSWER})
        except Exception:
            logger.debug("%s: answering a probe failed", describe(self._consumer), exc_info=True)

    def stop_answering(self) -> None:
        """Answer no probe any more. The connection ends."""
        if self._answering is not None:
            self._answering.cancel()
            self._answering = None

    # A client that does not read

    @property
    def consumer(self) -> Consumer:
        """The consumer that sends."""
        return self._consumer

    def taken(self) -> int | None:
        """A figure that grows while the client reads, or None where there is none."""
        return self._adapter().taken()

    def unsent(self) -> int | None:
        """Bytes that are kept for the client, which has not acknowledged them; None if unknown."""
        return self._adapter().unsent()

    def give_up(
        self,
        sending: Awaitable[None],
        task: "asyncio.Task[Any] | None",
        seconds: float,
        hint: str = "a higher send_timeout waits longer",
    ) -> None:
        """Disconnect the client, which has read nothing for ``seconds``.

        Args:
            sending: the send that waits.
            task: the task that waits for it, which goes on as if the message had been sent.
            seconds: how long it has waited.
            hint: for the log, why that is too long.
        """
        if task is not None:
            self.given_up += (sending,)
            task.cancel()
        if self._life.phase >= CLOSED:
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
        self._life.client_stalled()
        # No close could reach the client, and what waits to be sent could wait for ever.
        self._adapter().abort()

    def _recall(self, sending: Awaitable[None]) -> bool:
        """Whether only :meth:`give_up` has cancelled the task."""
        task = asyncio.current_task()
        if task is None or sending not in self.given_up:
            return False
        self.given_up = tuple(other for other in self.given_up if other is not sending)
        return task.uncancel() == 0

    # Last words

    async def say_goodbye(self, code: int, *, status: int = 500, reason: str = "") -> None:
        """Close the socket if it is open, or refuse what the consumer has not answered.

        A response without an end is broken off, so that its client does not wait for more.

        An error of the server is no error here: there is nothing more to be done.

        Args:
            code: the code to close a WebSocket with. 1000 means that nothing is wrong: a handshake
                is refused with the status 403.
            status: the HTTP status to refuse with for any other code.
            reason: why, for the client of an accepted WebSocket.
        """
        life = self._life
        if life.phase >= REFUSED:
            return
        life.ending(code)
        try:
            if self._protocol == "websocket" and life.phase is OPEN:
                await self._close_with(code, reason)
            elif self._protocol in {"websocket", "http"} and life.phase is CONNECTING:
                life.turned_away(code)
                refused = code == 1000 and self._protocol == "websocket"
                scope = self._consumer.scope
                await respond(scope, self._raw_send, status=403 if refused else status)
            elif self._protocol == "http":
                await self._break_off()
        except Exception:
            life.ending(code)
            logger.debug("%s: closing failed", describe(self._consumer), exc_info=True)

    async def _close_with(self, code: int, reason: str) -> None:
        """Close with ``code``, or with 1000 on a server that lets no application send that."""
        close: Message = {"type": "websocket.close", "code": code}
        if reason:
            close["reason"] = reason
        try:
            await self.send(close)
        except Exception:  # noqa: BLE001 - each server has its own
            await self.send({"type": "websocket.close"})
            self._life.ending(code)

    async def _break_off(self) -> None:
        """End a response which has begun. A stream of events may end anywhere; others are cut."""
        if self._life.event_stream or not self._adapter().break_off():
            await self.send({"type": "http.response.body", "body": b""})

    async def end_response(self) -> None:
        """End a response that was started, as if its client had left."""
        if self._life.phase < REFUSED:
            try:
                await self.send({"type": "http.response.body", "body": b""})
            except Exception:
                logger.debug("%s: ending failed", describe(self._consumer), exc_info=True)
        self._life.abandoned()


def _is_event_stream(message: Message) -> bool:
    headers = message.get("headers") or ()
    if isinstance(headers, Iterator):  # which can be read but once
        headers = message["headers"] = list(headers)
    return any(
        name.lower() == b"content-type" and value.lower().startswith(b"text/event-stream")
        for name, value in headers
    )


def start_inline(work: Awaitable[None]) -> Awaitable[None] | None:
    """Run ``work`` until it is finished or has to wait.

    Most sends do not wait at all. Those that do are watched (see pending_sends.py), which costs
    more than the send.

    Returns:
        None if ``work`` is finished. Otherwise an awaitable for the rest, which the calling task
        has to await, as if it had awaited ``work``. An awaitable that is not a plain coroutine is
        not started, but returned as it is.

    Raises:
        Exception: what ``work`` raises.
    """
    if type(work) is not CoroutineType:
        return work
    try:
        awaited = work.send(None)
    except StopIteration:
        return None
    return _await_rest(work, awaited)


@coroutine
def _await_rest(work: "CoroutineType[Any, Any, None]", awaited: Any) -> Generator[Any, Any, None]:
    """The rest of ``yield from work``, which already waits for ``awaited`` (PEP 380)."""
    try:
        while True:
            try:
                value = yield awaited
            except GeneratorExit:
                work.close()
                raise
            except BaseException as error:  # noqa: BLE001 - a cancellation, most likely
                awaited = work.throw(error)
            else:
                awaited = work.send(value)
    except StopIteration:
        return

"""How far a connection has come: one phase, which only the class Lifecycle changes.

Whatever reads the client, sends to it or runs its handlers reports what has happened by calling a
method of :class:`Lifecycle`, and reads its attributes. Nothing else assigns to them.
docs/internals/connection.md draws the phases.
"""

from collections.abc import Callable, Mapping
from enum import IntEnum
from typing import Final

from ..close_codes import CloseCode
from . import clock, timers
from .intake import Intake
from .running_handler import RunningHandler
from .types import Message

__all__ = [
    "CLOSED",
    "CLOSE_TIMEOUT",
    "CLOSING",
    "CONNECTING",
    "ENDED",
    "LEFT",
    "OPEN",
    "OVERLOADED",
    "REFUSED",
    "RESTARTING",
    "TRANSITIONS",
    "Lifecycle",
    "Phase",
    "disconnect_type",
]

RESTARTING, OVERLOADED = CloseCode.RESTARTING.value, CloseCode.OVERLOADED.value
_NO_STATUS, _ABNORMAL = CloseCode.NO_STATUS.value, CloseCode.ABNORMAL.value

# Seconds to wait for the server's disconnect event after the application closed the socket.
# Servers allow the client about as long to answer the closing handshake (some 10 s).
CLOSE_TIMEOUT = 20.0

_DISCONNECT_TYPES = {"websocket": "websocket.disconnect", "http": "http.disconnect"}


def disconnect_type(protocol: str) -> str | None:
    """The type of the client's last event, or None if the protocol has no such event."""
    return _DISCONNECT_TYPES.get(protocol)


class Phase(IntEnum):
    """How far the exchange with the client has come.

    The order matters: before ``REFUSED`` the client of a WebSocket can be sent messages, from
    ``CLOSED`` on no client can, and from ``REFUSED`` to ``CLOSED`` the application has sent its
    last message.
    """

    #: The handshake has not been answered, or the response not been started.
    CONNECTING = 0
    #: The handshake was accepted, or the response was started.
    OPEN = 1
    #: The consumer has refused the handshake. ``disconnect()`` gets the server's code, if any.
    REFUSED = 2
    #: The application has closed the socket, or sent the last part of the response. The client's
    #: disconnect is expected.
    CLOSING = 3
    #: The application has sent its last message, and then the client has left.
    CLOSED = 4
    #: The client has left before the application sent its last message.
    LEFT = 5
    #: The consumer has been disconnected, and nothing of the connection is left.
    ENDED = 6


CONNECTING, OPEN, REFUSED, CLOSING, CLOSED, LEFT, ENDED = Phase

_LEAVING = {CONNECTING: LEFT, OPEN: LEFT, REFUSED: CLOSED, CLOSING: CLOSED}

#: Every event, and the phase that follows each phase in which the event means something. In any
#: other phase the event changes nothing, because it has come too late: reports of the client, of
#: several sending tasks and of timers cross.
TRANSITIONS: Final[Mapping[str, Mapping[Phase, Phase]]] = {
    "accepted": {CONNECTING: OPEN},
    "closed": {CONNECTING: REFUSED, OPEN: CLOSING},
    "close_failed": {REFUSED: CONNECTING, CLOSING: OPEN},
    "turned_away": {CONNECTING: CLOSING},
    "client_left": _LEAVING,
    "client_stalled": _LEAVING,
    "send_failed": _LEAVING,
    "abandoned": _LEAVING,
    "ended": dict.fromkeys((CONNECTING, OPEN, REFUSED, CLOSING, CLOSED, LEFT), ENDED),
}

# How a handshake has ended, for signals.handshake_finished.
ACCEPTED, REFUSED_BY_CONSUMER, TIMED_OUT = "accepted", "refused", "timed out"
CRASHED, TURNED_AWAY, ABANDONED = "crashed", "turned away", "abandoned"
_OUTCOMES = {"accepted": ACCEPTED, "closed": REFUSED_BY_CONSUMER}


def _outcome_of(code: int | None) -> str:
    """How a handshake has ended that was refused for the consumer, with a code or for its delay."""
    if code is None:
        return TIMED_OUT
    if code in {RESTARTING, OVERLOADED}:
        return TURNED_AWAY
    return REFUSED_BY_CONSUMER if code == 1000 else CRASHED


class Lifecycle:
    """Owns the phase of one connection, and does what each event requires.

    Args:
        protocol: the type of the scope.
        intake: reads the client; gets the disconnect event that the server owes.
        handler: the handler that runs, whose time is limited when the client has left.
    """

    __slots__ = (
        "_answered",
        "_close_timer",
        "_handler",
        "_intake",
        "_refused",
        "code",
        "disconnect_owed",
        "disconnect_type",
        "event_stream",
        "interrupted",
        "opened_at",
        "phase",
        "protocol",
        "request_complete",
    )

    def __init__(self, protocol: str, intake: Intake, handler: RunningHandler) -> None:
        self._intake = intake
        self._handler = handler
        self._close_timer: timers.Timer | None = None
        # The consumer has refused the handshake, so the server's code counts for disconnect().
        self._refused = False
        # Called once with how the handshake ended, when it does; None if nobody wants to know.
        self._answered: Callable[[str], None] | None = None
        #: The phase.
        self.phase: Phase = CONNECTING
        self.protocol = protocol
        self.disconnect_type = disconnect_type(protocol)
        #: The code that the application has closed the WebSocket with, and at the end the code that
        #: ``disconnect()`` got.
        self.code: int | None = None
        #: When the consumer was given its first event (:func:`.clock.now`); None before that.
        self.opened_at: float | None = None
        #: Whether the consumer has been given an event, and no disconnect yet.
        self.disconnect_owed = False
        #: Whether the connection is to end after the running handler: because the process ends, or
        #: because a background task has failed.
        self.interrupted = False
        #: Whether the response is a stream of events (SSE), which ends when one side ends it.
        self.event_stream = False
        #: Whether the whole HTTP request has been given to the consumer.
        self.request_complete = False

    def _move(self, event: str) -> None:
        """Change the phase as :data:`TRANSITIONS` says."""
        self.phase = TRANSITIONS[event].get(self.phase, self.phase)
        if self._answered is not None and self.phase is not CONNECTING:
            self._tell_outcome(_OUTCOMES.get(event, ABANDONED))

    def watch_handshake(self, answered: Callable[[str], None]) -> None:
        """Call ``answered`` once the handshake has ended, with how it did."""
        self._answered = answered

    def _tell_outcome(self, outcome: str) -> None:
        """The handshake has ended in this way, unless it had before."""
        if self._answered is not None:
            answered, self._answered = self._answered, None
            answered(outcome)

    def not_admitted(self) -> None:
        """The connection does not begin: it was refused before its consumer heard of it."""
        self._tell_outcome(TURNED_AWAY)

    # Events of the application

    def accepted(self, *, event_stream: bool = False) -> None:
        """The handshake is being accepted, or the response started."""
        self._move("accepted")
        self.event_stream = event_stream

    def closed(self, code: int | None = None) -> None:
        """The consumer sends its last message; ``code`` is that of a WebSocket's close."""
        self._refused = self.phase is CONNECTING
        self._move("closed")
        self.code = code
        self._expect_disconnect()

    def close_failed(self) -> None:
        """The server did not take the close."""
        if self.phase < CLOSED:  # the client stays, so no disconnect follows
            self._stop_close_timer()
        self._move("close_failed")
        self._refused = False
        self.code = None

    def ending(self, code: int) -> None:
        """The connection is being ended for the consumer, for the reason that ``code`` stands for.

        It is the code for ``disconnect()``, whether or not the client can be told.
        """
        self.code = code

    def turned_away(self, code: int | None = None) -> None:
        """What the consumer has not answered is being refused for it."""
        self._tell_outcome(_outcome_of(code))
        self._move("turned_away")
        self.code = code
        self._expect_disconnect()

    # Events of the client

    def reading_ended(self, client_left: bool) -> None:
        """Nothing more will be read from the client, which may still be there if that failed."""
        if client_left:
            self.client_left()
        else:
            self._handler.limit()

    def client_left(self) -> None:
        """The client has left: its disconnect event is in the intake."""
        self._leave("client_left")
        self._handler.limit()

    def client_stalled(self) -> None:
        """The client has read nothing for too long, and is given up."""
        self.code = OVERLOADED
        event = self.make_disconnect()
        self._leave("client_stalled")
        self._handler.limit()
        self._intake.put(event)

    def disconnect_missing(self) -> None:
        """The server sends no disconnect event: go on without."""
        event = self.make_disconnect()
        self.client_left()
        self._intake.put(event)

    def send_failed(self) -> None:
        """The server has refused to send, because the client has left. Its disconnect follows."""
        self._leave("send_failed")
        self._expect_disconnect()

    def abandoned(self) -> None:
        """Nothing more is to be sent, for a reason that is not the client's."""
        self._leave("abandoned")

    def _leave(self, event: str) -> None:
        self._move(event)
        self._intake.drop_mailbox()

    def _expect_disconnect(self) -> None:
        """A disconnect event has to follow. If the server sends none, go on without."""
        if self._close_timer is None and self.phase is not ENDED:
            self._close_timer = timers.Timer(CLOSE_TIMEOUT, self.disconnect_missing)

    def _stop_close_timer(self) -> None:
        if self._close_timer is not None:
            self._close_timer.cancel()
            self._close_timer = None

    # Events of the consumer

    def opened(self) -> None:
        """The consumer is being given its first event."""
        self.opened_at = clock.now()
        self.disconnect_owed = self.disconnect_type is not None

    def request_read(self) -> None:
        """The consumer is being given the last part of the HTTP request."""
        self.request_complete = True

    def first_event_skipped(self) -> None:
        """The handler of the first event was not called: there is nothing to disconnect from."""
        self.disconnect_owed = False

    def disconnecting(self, code: int | None) -> int | None:
        """The consumer is given its disconnect.

        Servers do not agree on the code that they tell when it was the application that closed.

        Args:
            code: the code that the disconnect event tells.

        Returns:
            The code for ``disconnect()``.
        """
        self.disconnect_owed = False
        if self.protocol == "websocket":
            said = None if self._refused else self.code
            if said is not None and code in {None, 1000, _NO_STATUS, _ABNORMAL}:
                code = said
            elif code is None:
                code = _NO_STATUS
        self.code = code
        return code

    def make_disconnect(self) -> Message:
        """The disconnect event that the server did not send."""
        if self.protocol == "websocket":
            code = self.code
            return {"type": self.disconnect_type, "code": _ABNORMAL if code is None else code}
        return {"type": self.disconnect_type}

    # Events of the process and of the connection as a whole

    def drain_requested(self) -> None:
        """The process is about to end, and the connection with it."""
        self.interrupted = True

    def task_failed(self) -> None:
        """A background task has failed, for which the connection is to end."""
        self.interrupted = True
        self._handler.limit("a background task had failed")

    def ended(self) -> None:
        """Nothing of the connection is left."""
        self._move("ended")
        self._stop_close_timer()

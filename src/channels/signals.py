"""Every event worth measuring, emitted here and nowhere else.

The framework emits; ``contrib`` and your project listen. Receivers are called where the event
happens, mostly on the event loop: keep them short, synchronous and free of database queries.
A receiver that raises is logged by Django and disturbs nobody, whatever it raises; ``sys.exit()``
in a receiver ends nothing.

==========================  ========================================================================
Signal                      Arguments (``sender`` is the class of the consumer, router or layer)
==========================  ========================================================================
``connection_opened``       ``consumer``, ``scope``: the first event is about to be handled
``connection_closed``       ``consumer``, ``scope``, ``code`` (int or None), ``duration`` (seconds)
``connection_refused``      ``scope``, ``reason`` (text), ``status`` (HTTP status)
``handshake_finished``      ``consumer``, ``scope``, ``outcome`` (text), ``seconds``: a WebSocket's
``message_received``        ``consumer``, ``scope``, ``message_type``, ``size`` (bytes): from the
                            client
``message_sent``            ``consumer``, ``scope``, ``message_type``, ``size`` (bytes): to the
                            client
``handler_started``         ``consumer``, ``scope``, ``message_type``, ``source`` ("client" or
                            "layer"), ``message``: its handler is called next, in the same task and
                            context
``handler_finished``        the same, and ``seconds``, ``exception`` (or None)
``limit_exceeded``          ``scope``, ``consumer`` (or None), ``limit`` (its name), ``key_kind``
                            (what it is counted for: "connection", "user", "address"), ``action``
                            (text)
``consumer_crashed``        ``consumer``, ``scope``, ``exception``
``handler_cancelled``       ``consumer``, ``scope``, ``message_type``: outlived ``disconnect_grace``
``send_dropped``            ``consumer``, ``scope``, ``message_type``: the client had gone
``client_stalled``          ``consumer``, ``scope``, ``seconds``: the client did not read for so
                            long
``message_dropped``         ``layer``, ``channel``, ``reason`` (text), ``count`` (messages)
``layer_message_sent``      ``layer``, ``channel`` or ``group`` (the other is None), ``message``,
                            ``seconds`` (until the broker had it)
``layer_message_received``  ``layer``, ``channel`` or ``group``, ``count`` (recipients in this
                            process)
``layer_gap``               ``layer``, ``reason`` (text), ``channels`` (how many consumers are told)
``broker_lost``             ``broker`` (its address), ``purpose`` (text), ``exception``
``broker_recovered``        ``broker``, ``purpose``, ``seconds`` (it was lost for)
``event_loop_lagged``       ``seconds``: how late a callback ran; 4 times a second, while
                            connections are open
``sync_threads_busy``       ``threads``, ``seconds``, ``waiting`` (handlers), ``handlers`` (that
                            run)
``server_started``          none; the server's lifespan has started
``server_draining``         ``connections`` (int), ``plan``: told to end, this process closes them
``server_stopping``         none; the server's lifespan is ending
``worker_started``          ``worker``: it begins to listen
``worker_stopping``         ``worker``: it takes no more messages, and lets handlers finish
``task_attempt_started``    ``task_result``: a background task is called next, in the same
                            context
``task_attempt_finished``   ``task_result``, ``seconds``, ``exception`` (or None)
``job_finished``            ``channel``, ``message_type``, ``seconds``, ``outcome``: a worker has
                            handled a message
``listener_failed``         ``worker``, ``channel``, ``exception``, ``failures`` (in a row),
                            ``seconds`` (until it starts again; None if it does not)
``listener_recovered``      ``worker``, ``channel``, ``failures`` (there were)
==========================  ========================================================================
"""

import logging
from collections.abc import Callable
from typing import Any, Protocol
from weakref import ReferenceType, WeakKeyDictionary

from django.dispatch import Signal

__all__ = [
    "broker_lost",
    "broker_recovered",
    "client_stalled",
    "connection_closed",
    "connection_opened",
    "connection_refused",
    "consumer_crashed",
    "emit",
    "event_loop_lagged",
    "handler_cancelled",
    "handler_finished",
    "handler_started",
    "handshake_finished",
    "job_finished",
    "layer_gap",
    "layer_message_received",
    "layer_message_sent",
    "limit_exceeded",
    "listener_failed",
    "listener_recovered",
    "message_dropped",
    "message_received",
    "message_sent",
    "send_dropped",
    "server_draining",
    "server_started",
    "server_stopping",
    "sync_threads_busy",
    "task_attempt_finished",
    "task_attempt_started",
    "worker_started",
    "worker_stopping",
]

logger = logging.getLogger("channels.signals")
django_logger = logging.getLogger("django.dispatch")  # where send_robust() logs


class _Event(Signal):
    """A signal whose receivers may raise what they like.

    Django looks for the receivers of a sender each time. Here they are looked for once where
    none of them is weak or async, which is so for those of ``contrib``.
    """

    def __init__(self) -> None:
        super().__init__()
        self._direct: WeakKeyDictionary[type, tuple[Any, tuple[Any, ...]]] = WeakKeyDictionary()

    def connect(self, *args: Any, **options: Any) -> None:
        """See Django."""
        super().connect(*args, **options)
        self._direct = WeakKeyDictionary()  # a thread that fills the former one does no harm

    def disconnect(self, *args: Any, **options: Any) -> bool:
        """See Django."""
        found: bool = super().disconnect(*args, **options)
        self._direct = WeakKeyDictionary()
        return found

    def send_robust(self, sender: Any, **named: Any) -> list[tuple[Any, Any]]:
        """See Django."""
        known = self._direct.get(sender) if isinstance(sender, type) else None
        if known is None or known[0] is not self.receivers:
            known = self._look_for(sender)
            if known is None:
                return super().send_robust(sender, **named)
        responses: list[tuple[Any, Any]] = []
        for receiver in known[1]:
            try:
                response = receiver(signal=self, sender=sender, **named)
            except Exception as error:
                said = "Error calling %s in Signal.send_robust() (%s)"
                django_logger.error(said, receiver.__qualname__, error, exc_info=error)
                response = error
            responses.append((receiver, response))
        return responses

    def _look_for(self, sender: Any) -> tuple[Any, tuple[Any, ...]] | None:
        """The receivers for a class, to be kept; None where Django is to look each time."""
        direct, receivers = self._direct, self.receivers
        if not isinstance(sender, type) or any(
            isinstance(one[1], ReferenceType) for one in receivers
        ):
            return None
        found, asynchronous = self._live_receivers(sender)
        if asynchronous:
            return None
        direct[sender] = known = (receivers, tuple(found))
        return known

    def _live_receivers(self, sender: Any) -> Any:
        receivers, asynchronous = super()._live_receivers(sender)
        return [_Receiver(receiver) for receiver in receivers], asynchronous


class _Receiver:
    """Raises nothing that Django would let through, but Ctrl-C."""

    __slots__ = ("_receiver",)

    def __init__(self, receiver: Callable[..., Any]) -> None:
        self._receiver = receiver

    def __call__(self, *args: Any, **arguments: Any) -> Any:
        try:
            return self._receiver(*args, **arguments)
        except (Exception, KeyboardInterrupt):
            raise
        except BaseException as error:
            raise RuntimeError(f"A receiver of a signal raised {error!r}") from error

    def __getattr__(self, name: str) -> Any:
        """What Django's log says of the receiver."""
        return getattr(self._receiver, name)


class HandlerHook(Protocol):
    """Called around every handler, for much less than two signals cost."""

    def begin(self, consumer: Any, message_type: str, source: str) -> object:
        """A handler is called next, in the same task and context.

        The arguments are those of ``handler_started``.

        Returns:
            What :meth:`end` is to be given; None if it is not to be called.
        """

    def end(self, begun: Any, exception: BaseException | None) -> None:
        """The handler has ended."""


class _Listened:
    """Whether anybody listens to what is sent for every message."""

    __slots__ = ("hook", "messages", "signals")

    def __init__(self) -> None:
        #: Whether any of these signals has a receiver.
        self.signals = False
        self.hook: HandlerHook | None = None
        #: Whether there is a receiver or a hook.
        self.messages = False

    def around(self, hook: HandlerHook | None) -> None:
        """Call ``hook`` around every handler from now on, and no other one."""
        self.hook = hook
        self.update()

    def update(self) -> None:
        """Somebody has begun or ceased to listen."""
        self.signals = any(signal.receivers for signal in _per_message)
        self.messages = self.signals or self.hook is not None


#: One look at it takes the place of a look at each of these signals.
listened = _Listened()


class _PerMessage(_Event):
    """One that is sent for every message."""

    def connect(self, *args: Any, **options: Any) -> None:
        super().connect(*args, **options)
        listened.update()

    def disconnect(self, *args: Any, **options: Any) -> bool:
        disconnected = super().disconnect(*args, **options)
        listened.update()
        return disconnected


connection_opened = _Event()
connection_closed = _Event()
connection_refused = _Event()
handshake_finished = _Event()
message_received = _PerMessage()
message_sent = _PerMessage()
handler_started = _PerMessage()
handler_finished = _PerMessage()
limit_exceeded = _Event()
consumer_crashed = _Event()
handler_cancelled = _Event()
send_dropped = _Event()
client_stalled = _Event()
message_dropped = _Event()
layer_message_sent = _Event()
layer_message_received = _Event()
layer_gap = _Event()
broker_lost = _Event()
broker_recovered = _Event()
event_loop_lagged = _Event()
sync_threads_busy = _Event()
server_started = _Event()
server_draining = _Event()
server_stopping = _Event()
worker_started = _Event()
worker_stopping = _Event()
task_attempt_started = _Event()
task_attempt_finished = _Event()
job_finished = _Event()
listener_failed = _Event()
listener_recovered = _Event()

_per_message = (message_received, message_sent, handler_started, handler_finished)


def emit(signal: Signal, sender: Any, **arguments: Any) -> None:
    """Call the receivers of ``signal``, if it has any; none of them can raise into the caller."""
    if signal.receivers:
        try:
            signal.send_robust(sender, **arguments)
        except Exception:
            # send_robust() logs what receivers raise, but cannot call async ones on a running loop.
            logger.exception("A signal could not be sent; its receivers must be plain functions")
        except KeyboardInterrupt:
            raise
        except BaseException:  # of a signal that a project has made
            logger.exception("A receiver of a signal raised what is no error")

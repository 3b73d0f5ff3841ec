"""The handler that a connection runs now, and how long it may go on without its client."""

import asyncio
import logging
from typing import Any

from .. import signals
from . import threads, timers
from .consumer_signals import send_signal
from .faults import log_about
from .logtext import printable
from .types import Consumer

__all__ = ["RunningHandler"]


class RunningHandler:
    """The running handler of one consumer.

    When the client has left, an async handler gets ``disconnect_grace`` seconds and is then
    cancelled. A sync handler cannot be stopped: it is left to finish, unless it still waits for a
    thread, in which case it is not called at all.

    The handler of the disconnect does not count as running here: it is always called, and its time
    is not limited.

    Args:
        consumer: the consumer that has the handlers.
    """

    __slots__ = ("_cancelled", "_consumer", "_timer", "limited", "message_type", "skipped", "task")

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._timer: timers.Timer | None = None
        # The task, once this class has cancelled the running handler.
        self._cancelled: asyncio.Task[Any] | None = None
        #: The task that runs the handlers, one after another.
        self.task: asyncio.Task[Any] | None = None
        #: The type of the message that is being handled, or None while no handler runs.
        self.message_type: str | None = None
        #: Whether the running handler's time is limited. Then :meth:`ended` must be called.
        self.limited = False
        #: The client left before a thread was free for the handler, which was therefore not called.
        self.skipped = False

    def limit(self, why: str = "the client had gone") -> None:
        """Give the running handler ``disconnect_grace`` seconds, because its client has left.

        Args:
            why: what has happened instead, for the log.
        """
        if self.message_type is None or self.limited:
            return
        if self._is_sync():
            if not self._skip(self.message_type):
                # It may ask for a thread within this turn of the event loop.
                asyncio.get_running_loop().call_soon(self._skip, self.message_type)
        else:
            self.limited = True
            self._timer = timers.Timer(self._consumer.disconnect_grace, self._out_of_time, why)

    def cancel(self) -> None:
        """End the running handler at once, as far as it can be ended."""
        if self.message_type is None or self.task is None or self._cancelled is not None:
            return
        if self._is_sync():
            self._skip(self.message_type)
        else:
            self.limited = True
            self._cancel(self.task)

    def ended(self) -> None:
        """The running handler has ended, by itself or because it was cancelled."""
        self.limited = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._cancelled is not None:
            self._cancelled.uncancel()
            self._cancelled = None

    def was_cancelled_here(self) -> bool:
        """Whether this class has cancelled the handler, and nothing else has cancelled the task."""
        return self._cancelled is not None and self._cancelled.cancelling() <= 1

    def _is_sync(self) -> bool:
        return getattr(self._consumer, "_sync", False)

    def _skip(self, message_type: str) -> bool:
        """Do not call the handler of ``message_type`` if it waits for a thread.

        Returns:
            Whether it did wait, and is not called.
        """
        if self.message_type != message_type:
            return False
        if threads.drop(self._consumer):
            self.skipped = True
        return self.skipped

    def _out_of_time(self, why: str) -> None:
        self._timer = None
        consumer, message_type = self._consumer, self.message_type
        if message_type is None or self.task is None or self._cancelled is not None:
            return
        log_about(
            consumer,
            logging.WARNING,
            "outlived",
            "%s: the handler of %s was still running %g s after %s; cancelled "
            "(a higher disconnect_grace waits longer)",
            printable(message_type),
            consumer.disconnect_grace,
            why,
        )
        send_signal(signals.handler_cancelled, consumer, message_type=message_type)
        self._cancel(self.task)

    def _cancel(self, task: "asyncio.Task[Any]") -> None:
        self._cancelled = task
        task.cancel()

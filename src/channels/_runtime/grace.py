"""A handler that outlives its client: how long it may, and its end."""

import asyncio
import logging
from typing import Any

from .. import signals
from . import threads, timers
from .announce import announce
from .faults import log_about
from .logtext import printable
from .types import Consumer

__all__ = ["Grace"]


class Grace:
    """Cancels the running handler ``disconnect_grace`` seconds after its client has gone.

    A handler that runs in a thread is let be: none can be stopped. One that still waits for a
    thread is not called any more.

    Args:
        consumer: whose handlers they are.
    """

    __slots__ = ("_consumer", "_overdue", "_timer", "begun", "dropped", "handling", "task")

    def __init__(self, consumer: Consumer) -> None:
        self._consumer = consumer
        self._timer: timers.Timer | None = None
        self._overdue = False  # the running handler has been cancelled
        #: Whether the running handler's time is limited: :meth:`end` must follow it.
        self.begun = False
        #: The handler that was to run has not been called.
        self.dropped = False
        #: The task that runs the handlers.
        self.task: asyncio.Task[Any] | None = None
        #: The type of the message that is being handled, or None; also while it is the disconnect,
        #: whose handler is always called and never cancelled here.
        self.handling: str | None = None

    def begin(self) -> None:
        """The client has gone. Limit the time of the handler that runs, if one does."""
        if self.handling is None or self.begun:
            return
        loop = asyncio.get_running_loop()
        if getattr(self._consumer, "_sync", False):
            if not self._drop(self.handling):
                loop.call_soon(self._drop, self.handling)  # it may be just about to wait
        else:
            self.begun = True
            self._timer = timers.Timer(self._consumer.disconnect_grace, self._cancel)

    def cut(self) -> None:
        """The running handler is of no use any more. Cancel it, if it can be."""
        if self.handling is None or self.task is None or self._overdue:
            return
        if not getattr(self._consumer, "_sync", False):
            self.begun = self._overdue = True
            self.task.cancel()
        else:
            self._drop(self.handling)

    def _drop(self, handling: str) -> bool:
        """See to it that a handler which waits for a thread is not called; whether one did."""
        if self.handling != handling:
            return False
        if threads.drop(self._consumer):
            self.dropped = True
        return self.dropped

    def end(self) -> None:
        """The handler has ended, in time or not."""
        self.begun = False
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._overdue:
            self._overdue = False
            if self.task is not None:
                self.task.uncancel()

    def was_all(self) -> bool:
        """Whether it was this that cancelled the handler, and nobody else as well."""
        return self._overdue and self.task is not None and self.task.cancelling() <= 1

    def _cancel(self) -> None:
        self._timer = None
        consumer, handling = self._consumer, self.handling
        if handling is None or self.task is None or self._overdue:
            return
        log_about(
            consumer,
            logging.WARNING,
            "outlived",
            "%s: the handler of %s was still running %g s after the client had gone; cancelled "
            "(a higher disconnect_grace waits longer)",
            printable(handling),
            consumer.disconnect_grace,
        )
        announce(signals.handler_cancelled, consumer, message_type=handling)
        self._overdue = True
        self.task.cancel()

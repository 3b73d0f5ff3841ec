"""What is told of a message that has been handled: a line for the log, and a signal."""

import logging
from typing import Any, Final

from .. import signals
from .._runtime.clock import now
from .._runtime.logtext import printable

__all__ = ["CANCELLED", "DONE", "FAILED", "TIMED_OUT", "UNHANDLED", "Job", "is_heard"]

logger = logging.getLogger("channels.worker")

#: The handler has returned, or has raised ``StopConsumer``.
DONE: Final = "done"
#: The handler has raised.
FAILED: Final = "failed"
#: The application has no handler for messages of this type.
UNHANDLED: Final = "unhandled"
#: The worker has ended, and the handler took longer than it may then.
CANCELLED: Final = "cancelled"
#: The handler took longer than handlers may.
TIMED_OUT: Final = "timed out"


def is_heard() -> bool:
    """Whether anyone listens to what is told of messages."""
    if signals.job_finished.receivers:
        return True
    return logger.isEnabledFor(logging.DEBUG)


class Job:
    """One message, from when the application gets it to when it wants the next one.

    Args:
        channel: on which it came.
        message_type: its type.
    """

    __slots__ = ("_began", "_channel", "_message_type")

    def __init__(self, channel: str, message_type: Any) -> None:
        self._channel = channel
        self._message_type = message_type
        self._began = now()

    def finished(self, sender: type, outcome: str) -> None:
        """Tell of it.

        Args:
            sender: the class of the worker.
            outcome: one of the names of this module.
        """
        seconds = now() - self._began
        signals.emit(
            signals.job_finished,
            sender,
            channel=self._channel,
            message_type=self._message_type,
            seconds=seconds,
            outcome=outcome,
        )
        logger.debug(
            "Message %s on channel %s: %s in %.1f ms",
            printable(self._message_type),
            self._channel,
            outcome,
            seconds * 1000,
        )

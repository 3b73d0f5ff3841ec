"""Keeping the listener of a channel at work: when it fails it starts again, after a pause."""

import asyncio
import logging
from typing import TYPE_CHECKING

from .. import signals
from .._runtime import clock, timers
from .._runtime.backoff import random_pause
from .._runtime.exits import contained, is_crash
from ..exceptions import (
    BrokerError,
    InvalidChannelLayerError,
    InvalidNameError,
    ListenerFailed,
)

if TYPE_CHECKING:
    from .server import Worker

__all__ = ["Listening"]

logger = logging.getLogger("channels.worker")

# Trying again cannot make these good.
_PERMANENT = (InvalidNameError, InvalidChannelLayerError, NotImplementedError)

# Seconds after which a listener that has started again, and has received nothing yet, is taken to
# be well. Longer than brokers take to refuse.
_WELL_AGAIN = 5.0

# Seconds between two failures that have nothing to do with each other.
_IN_A_ROW = 60.0


class Listening:
    """Runs the listener of one channel.

    Args:
        worker: whose listener it is.
        channel: the channel's name.
    """

    def __init__(self, worker: "Worker", channel: str) -> None:
        self._worker = worker
        self._channel = channel
        self._settling: timers.Timer | None = None
        #: How often it has failed in a row, since it last received a message.
        self.failures = 0
        #: Whether the listener has failed, and is not known to be well again.
        self.failing = False

    async def run(self) -> None:
        """Listen for ever.

        Raises:
            ListenerFailed: the listener cannot be kept at work.
        """
        task = asyncio.current_task()
        try:
            while True:
                started = clock.now()
                try:
                    await self._worker.listener(self._channel)
                    error: Exception = RuntimeError("the listener returned")
                except BaseException as caught:
                    if not is_crash(caught, task):
                        raise
                    error = contained(caught, f"The listener of channel {self._channel}")
                if clock.now() - started > _IN_A_ROW:
                    self.failures = 0
                await timers.sleep(self._failed(error))
                self._settling = timers.Timer(_WELL_AGAIN, self.well)
        finally:
            self._stop_settling()

    def well(self) -> None:
        """A failure is over."""
        self._stop_settling()
        if self.failing:
            self.failing = False
            signals.emit(
                signals.listener_recovered,
                type(self._worker),
                worker=self._worker,
                channel=self._channel,
                failures=self.failures,
            )

    def received(self) -> None:
        """The listener has received a message after a failure."""
        self.well()
        self.failures = 0

    def _stop_settling(self) -> None:
        if self._settling is not None:
            self._settling.cancel()
            self._settling = None

    def _failed(self, error: Exception) -> float:
        """Tell of a failure, and return the seconds after which the listener starts again.

        Raises:
            ListenerFailed: it does not.
        """
        worker, channel = self._worker, self._channel
        self._stop_settling()
        self.failures += 1
        self.failing = True
        final = self.failures > worker.max_failures or isinstance(error, _PERMANENT)
        pause = None if final else random_pause(self.failures, *worker.backoff)
        signals.emit(
            signals.listener_failed,
            type(worker),
            worker=worker,
            channel=channel,
            exception=error,
            failures=self.failures,
            seconds=pause,
        )
        if pause is None:
            raise ListenerFailed(
                f"Cannot receive from channel {channel!r}: {type(error).__name__}: {error}"
            ) from error
        told = isinstance(error, BrokerError)  # its text says it all
        logger.error(
            "Listener of channel %s failed (%d of %d in a row); it starts again in %.1f s%s",
            channel,
            self.failures,
            worker.max_failures,
            pause,
            f": {error}" if told else "",
            exc_info=None if told else error,
        )
        return pause

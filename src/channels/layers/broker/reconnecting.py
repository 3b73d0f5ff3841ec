"""A connection that is made again whenever it breaks: pauses between attempts, and the log."""

import logging
from collections.abc import Awaitable, Callable

from ... import signals
from ..._runtime import timers
from ..._runtime.backoff import random_pause
from ..._runtime.clock import now

__all__ = ["Reconnector", "backoff"]

logger = logging.getLogger("channels.layers")

# The limits of pauses, in seconds.
_BACKOFF_FIRST, _BACKOFF_LAST = 0.05, 1.0

# Failures in a row after which one that may pass by itself is worth a line: a restart of the broker
# is, a hiccup is not.
_NOTED = 3

# Seconds between two lines while it does not work, and between the lines of faults that come and
# go.
_INTERVAL, _PAUSE = 60.0, 10.0


def backoff(failures: int) -> float:
    """Seconds to wait after so many failures in a row, from 1."""
    return random_pause(failures, _BACKOFF_FIRST, _BACKOFF_LAST)


class Reconnector:
    """Keeps one connection: attempts follow each other, after a pause if one has failed.

    Args:
        name: where the connection leads, for the log.
        purpose: what it is for, such as "receiving", for the log.
        is_transient: whether an error may pass by itself. Another one is logged at once.
        explain: an error that says what to do about one that will not pass by itself.

    Attributes:
        failures: how many attempts have failed in a row.
    """

    def __init__(
        self,
        name: str,
        purpose: str,
        is_transient: Callable[[Exception], bool],
        explain: Callable[[Exception], Exception],
    ) -> None:
        self._name = name
        self._purpose = purpose
        self._is_transient = is_transient
        self._explain = explain
        self._logged = False
        self._logged_at = float("-inf")
        # When the first of these failures was.
        self._lost_at = 0.0
        self.failures = 0

    async def run(self, attempt: Callable[[], Awaitable[bool]]) -> None:
        """Call ``attempt`` again and again until it returns False.

        Args:
            attempt: connects, calls :meth:`works` when that was of use, and works over the
                connection for as long as it holds. It raises what went wrong, or returns whether
                there is to be another attempt, which begins at once.
        """
        wanted = True
        while wanted:
            try:
                wanted = await attempt()
            except Exception as error:  # noqa: BLE001 - the log is told, and the next may succeed
                self._failed(error)
                await timers.sleep(backoff(self.failures))

    def works(self) -> None:
        """The connection works: the next failure is the first. The log is told if it was before."""
        if self.failures:
            signals.emit(
                signals.broker_recovered,
                type(self),
                broker=self._name,
                purpose=self._purpose,
                seconds=now() - self._lost_at,
            )
        if self._logged:
            logger.info("%s answers again: %s works", self._name, self._purpose)
        self.failures, self._logged = 0, False

    def _failed(self, error: Exception) -> None:
        """One more attempt has failed: write it to the log, if that is due."""
        self.failures += 1
        if self.failures == 1:
            self._lost_at = now()
            signals.emit(
                signals.broker_lost,
                type(self),
                broker=self._name,
                purpose=self._purpose,
                exception=error,
            )
        lasting = not self._is_transient(error)
        pause = _INTERVAL if self._logged else _PAUSE
        if not (lasting or self.failures >= _NOTED) or now() - self._logged_at < pause:
            return
        self._logged, self._logged_at = True, now()
        logger.log(
            logging.ERROR if lasting else logging.WARNING,
            "%s: %s does not work (%s); still trying, attempt %d",
            self._name,
            self._purpose,
            str(self._explain(error) if lasting else error) or type(error).__name__,
            self.failures,
        )

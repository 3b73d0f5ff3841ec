"""What the log is told of a connection that fails: soon, not often, and when it is over."""

import logging

from ...._runtime.clock import now
from .errors import explain, is_transient
from .servers import Server

__all__ = ["Trouble"]

logger = logging.getLogger("channels.layers")

# Attempts in a row after which a failure that may pass is worth a line: a restart is, a hiccup is
# not.
_NOTED = 3

# Seconds between two lines while it lasts, and between the lines of troubles that come and go.
_INTERVAL, _PAUSE = 60.0, 10.0


class Trouble:
    """The failures in a row of one connection.

    Args:
        server: where the connection leads.
        purpose: what it is for, such as "receiving".
    """

    def __init__(self, server: Server, purpose: str) -> None:
        self._server = server
        self._purpose = purpose
        self._told_at = float("-inf")
        self._told = False
        #: How many attempts have failed in a row.
        self.attempts = 0

    def failed(self, error: Exception) -> None:
        """One more attempt has failed: tell the log, if that is due."""
        self.attempts += 1
        lasting = not is_transient(error)
        pause = _INTERVAL if self._told else _PAUSE
        if not (lasting or self.attempts >= _NOTED) or now() - self._told_at < pause:
            return
        self._told, self._told_at = True, now()
        logger.log(
            logging.ERROR if lasting else logging.WARNING,
            "%s: %s does not work (%s); still trying, attempt %d",
            self._server.name,
            self._purpose,
            str(explain(error) if lasting else error) or type(error).__name__,
            self.attempts,
        )

    def over(self) -> None:
        """It works: tell the log, if that was told otherwise."""
        if self._told:
            logger.info("%s answers again: %s works", self._server.name, self._purpose)
        self.attempts, self._told = 0, False

"""What aiormq writes to the log by itself, at a bounded rate.

It has a line, and often a traceback, for each attempt to connect and for each connection that ends.
The layer says what is to be known of that itself. Projects may set the levels of aiormq's loggers
as they like.
"""

import logging
from functools import partial

from ..._runtime import lograte

__all__ = ["bound_noise"]

_LOGGERS = "aiormq.connection", "aiormq.channel"

_SUMMARY = "%s" + lograte.SUMMED_UP


def bound_noise() -> None:
    """Let only some lines of each kind through, and then their number. It may be repeated."""
    for name in _LOGGERS:
        logger = logging.getLogger(name)
        if not any(isinstance(each, _Bounded) for each in logger.filters):
            logger.addFilter(_Bounded())


class _Bounded(logging.Filter):
    """Looks at what comes. Its kinds are the texts in aiormq's code, before they are filled in."""

    def filter(self, record: logging.LogRecord) -> bool:
        if record.levelno < logging.WARNING:
            return True
        kind = f"{record.name} {record.levelno} {record.msg}"
        later = partial(_tell, record.name, record.levelno, record.getMessage())
        count = lograte.pace.admit(kind, later)
        if count > 1:
            record.msg = (
                f"{record.getMessage()} (one of {count} such lines; the others were left out)"
            )
            record.args = None
        return count > 0


def _tell(name: str, level: int, text: str, count: int) -> None:
    logging.getLogger(name).log(
        level, "%s (one of %d such lines; the others were left out)", text, count
    )

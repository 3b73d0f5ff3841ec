"""What the setting ``LOGGING`` names: a filter that adds fields, and a formatter."""

import datetime
import logging
import sys
from typing import Any

import msgspec

from .connections import connection_fields, listen

__all__ = ["ConnectionFilter", "JSONFormatter"]

# What the filter sets, so that formats may name each of them in every record.
_FIELDS = ("connection_id", "consumer", "path", "channel_name", "user_id", "trace_id", "span_id")


class ConnectionFilter(logging.Filter):
    """Adds to each record which connection it is about. It lets all records pass.

    The attributes are ``connection_id``, ``consumer``, ``path``, ``channel_name``, ``user_id``,
    ``trace_id`` and ``span_id``; each is ``None`` where there is none. Those that a record has
    already, from ``extra``, stay as they are.

    Args:
        name: as in :class:`logging.Filter`: only records of this logger and those below it pass.
        user: whether to add the ID of the user, if the user has been loaded.
    """

    def __init__(self, name: str = "", *, user: bool = False) -> None:
        super().__init__(name)
        self._user = user
        listen()

    def filter(self, record: logging.LogRecord) -> bool:
        """Add the fields; whether the record passes."""
        found = {**connection_fields(user=self._user), **_trace()}
        for field in _FIELDS:
            if getattr(record, field, None) is None:
                setattr(record, field, found.get(field))
        return bool(super().filter(record))


def _trace() -> dict[str, str]:
    """The span that is running, if the project traces with OpenTelemetry."""
    trace: Any = sys.modules.get("opentelemetry.trace")
    if trace is None:
        return {}
    context = trace.get_current_span().get_span_context()
    if not context.is_valid:
        return {}
    return {"trace_id": f"{context.trace_id:032x}", "span_id": f"{context.span_id:016x}"}


# What every record has; the rest has been added.
_OWN = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class JSONFormatter(logging.Formatter):
    """Writes a record as one line of JSON.

    It has ``time`` (ISO 8601, UTC), ``level``, ``logger`` and ``message``, what filters and
    ``extra`` have added, and ``exception`` with the traceback if there is one. What is no JSON is
    written as its ``str()``.
    """

    def format(self, record: logging.LogRecord) -> str:
        """The line."""
        at = datetime.datetime.fromtimestamp(record.created, datetime.UTC)
        line: dict[str, Any] = {
            "time": at.isoformat(timespec="milliseconds"),
            "level": record.levelname,
            "logger": record.name,
            "message": record.getMessage(),
        }
        for name, value in vars(record).items():
            if name not in _OWN and value is not None:
                line.setdefault(name, value)
        if record.exc_info:
            line["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            line["stack"] = self.formatStack(record.stack_info)
        return _text(line)


def _text(line: dict[str, Any]) -> str:
    try:
        return msgspec.json.encode(line, enc_hook=str).decode("utf-8")
    except (ValueError, TypeError, OverflowError, RecursionError):
        # Half a character, a key that is no text, a very large number.
        plain = {name: _printable(value) for name, value in line.items()}
        return msgspec.json.encode(plain).decode("utf-8")


def _printable(value: object) -> str:
    return str(value).encode("utf-8", "backslashreplace").decode("utf-8")

"""A scope of Sentry's for each connection, with what is known of it.

Sentry makes an event of each crash that Channels logs. What it adds to events (breadcrumbs, tags,
the user) it keeps in scopes, which follow context variables. A server may start all connections in
one context, whose scope they would share; so each gets one of its own as it opens.
"""

from contextvars import ContextVar
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from channels import signals
from channels.contrib.logs.connections import connection_fields, listen

try:
    import sentry_sdk
    from sentry_sdk.scope import should_send_default_pii
except ImportError as error:
    raise ImproperlyConfigured(
        f'Reports to Sentry need the package sentry-sdk ({error}); pip install "channels[sentry]"'
    ) from error

__all__ = ["instrument", "uninstrument"]

_ID = "channels.contrib.sentry"

# The scope of the connection that is running, to be left when it closes.
_scope: ContextVar[Any] = ContextVar("channels_sentry_scope", default=None)

# Variables of functions in which cookies and tokens are.
_SECRET = frozenset({"scope", "headers", "cookies", "session", "subprotocols", "query_string"})


def instrument() -> None:
    """Give each connection that opens from now on a scope of its own."""
    listen()  # first, for the ID
    signals.connection_opened.connect(_opened, weak=False, dispatch_uid=_ID)
    signals.connection_closed.connect(_closed, weak=False, dispatch_uid=_ID)


def uninstrument() -> None:
    """Do not do so any more."""
    signals.connection_opened.disconnect(dispatch_uid=_ID)
    signals.connection_closed.disconnect(dispatch_uid=_ID)


def _opened(consumer: Any, scope: Any, **others: Any) -> None:
    entered = sentry_sdk.isolation_scope()
    isolated = entered.__enter__()
    _scope.set(entered)
    isolated.clear_breadcrumbs()
    for name in ("connection_id", "consumer"):
        isolated.set_tag(name, connection_fields().get(name))
    isolated.add_event_processor(_process)


def _closed(**others: Any) -> None:
    entered = _scope.get()
    if entered is not None:
        _scope.set(None)
        entered.__exit__(None, None, None)


def _process(event: Any, hint: Any) -> Any:
    """Add to an event what is known of the connection, and take secrets out of it."""
    fields = connection_fields(user=should_send_default_pii())
    user_id = fields.pop("user_id", None)
    if user_id is not None:
        event.setdefault("user", {}).setdefault("id", str(user_id))
    event.setdefault("contexts", {})["channels"] = fields
    for value in event.get("exception", {}).get("values", ()):
        for frame in (value.get("stacktrace") or {}).get("frames", ()):
            found = frame.get("vars") or {}
            for name in _SECRET & found.keys():
                found[name] = "[Filtered]"
    return event

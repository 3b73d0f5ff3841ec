"""A scope of Sentry's for each connection, with what is known of it.

Sentry makes an event of each crash that Channels logs. What it adds to events (breadcrumbs, tags,
the user) it keeps in scopes, which follow context variables. A server may start all connections in
one context, whose scope they would share; so each gets one of its own as it opens, and so does each
attempt at a background task. Workers log what their consumers and tasks have raised when these
scopes have been left, so the exception keeps its scope until then.
"""

from contextlib import suppress
from contextvars import ContextVar
from typing import Any

from django.core.exceptions import ImproperlyConfigured

from channels import signals
from channels.contrib.logs.connections import connection_fields, listen

try:
    import sentry_sdk
    from sentry_sdk.scope import add_global_event_processor, should_send_default_pii
except ImportError as error:
    raise ImproperlyConfigured(
        f'Reports to Sentry need the package sentry-sdk ({error}); pip install "channels[sentry]"'
    ) from error

__all__ = ["instrument", "uninstrument"]

_ID = "channels.contrib.sentry"

# The scope of the connection that is running, to be left when it closes.
_scope: ContextVar[Any] = ContextVar("channels_sentry_scope", default=None)

# On exceptions: the scope in which they were raised.
_RAISED_IN = "_channels_sentry_scope"

_processors: list[Any] = []

# Variables of functions in which cookies and tokens are.
_SECRET = frozenset({"scope", "headers", "cookies", "session", "subprotocols", "query_string"})


def instrument() -> None:
    """Give each connection that opens from now on, and each background task, a scope of its own."""
    listen()  # first, for the ID
    for name, receiver in _RECEIVERS.items():
        getattr(signals, name).connect(receiver, weak=False, dispatch_uid=_ID)
    if not _processors:  # it cannot be taken back, and does nothing without us
        _processors.append(_complete)
        add_global_event_processor(_complete)


def uninstrument() -> None:
    """Do not do so any more."""
    for name in (*_RECEIVERS, "handler_finished"):
        getattr(signals, name).disconnect(dispatch_uid=_ID)


def _opened(**others: Any) -> None:
    fields = connection_fields()
    isolated = _enter({name: fields.get(name) for name in ("connection_id", "consumer")})
    isolated.set_context("channels", fields)


def _enter(tags: dict[str, Any]) -> Any:
    """Enter a scope in which nothing is but what is known from now on."""
    entered = sentry_sdk.isolation_scope()
    isolated = entered.__enter__()
    _scope.set(entered)
    isolated.clear_breadcrumbs()
    for name, value in tags.items():
        isolated.set_tag(name, value)
    isolated.add_event_processor(_process)
    return isolated


def _closed(**others: Any) -> None:
    """Leave the scope."""
    entered = _scope.get()
    if entered is not None:
        _scope.set(None)
        entered.__exit__(None, None, None)


def _process(event: Any, hint: Any) -> Any:
    """Add to an event which user's connection it was, and take secrets out of it."""
    user_id = connection_fields(user=should_send_default_pii()).get("user_id")
    if user_id is not None:
        event.setdefault("user", {}).setdefault("id", str(user_id))
    for value in event.get("exception", {}).get("values", ()):
        for frame in (value.get("stacktrace") or {}).get("frames", ()):
            found = frame.get("vars") or {}
            for name in _SECRET & found.keys():
                found[name] = "[Filtered]"
    return event


def _attempt_started(task_result: Any, **others: Any) -> None:
    _enter({"task": task_result.task.module_path, "task_id": task_result.id})


def _attempt_finished(exception: BaseException | None, **others: Any) -> None:
    _keep_scope(exception)
    _closed()


def _worker_started(**others: Any) -> None:
    """Consumers of workers crash too seldom, and handle too few messages, for this to matter."""
    signals.handler_finished.connect(_handled, weak=False, dispatch_uid=_ID)


def _handled(exception: BaseException | None, **others: Any) -> None:
    _keep_scope(exception)


def _keep_scope(exception: BaseException | None) -> None:
    """Let an exception keep what the scope has in which it was raised."""
    if exception is not None:
        with suppress(AttributeError):  # it takes no attributes
            setattr(exception, _RAISED_IN, sentry_sdk.get_isolation_scope().apply_to_event({}, {}))


def _complete(event: Any, hint: Any) -> Any:
    """Add to an event what the scope had in which its exception was raised, if it was kept."""
    raised = (hint.get("exc_info") or (None, None))[1]
    kept: dict[str, Any] | None = getattr(raised, _RAISED_IN, None)
    if kept:
        event["tags"] = {**event.get("tags", {}), **kept.get("tags", {})}
        event["contexts"] = {**event.get("contexts", {}), **kept.get("contexts", {})}
        for name in {"user", "breadcrumbs"} & kept.keys():
            event[name] = kept[name]
        _process(event, hint)
    return event


_RECEIVERS = {
    "connection_opened": _opened,
    "connection_closed": _closed,
    "task_attempt_started": _attempt_started,
    "task_attempt_finished": _attempt_finished,
    "worker_started": _worker_started,
}

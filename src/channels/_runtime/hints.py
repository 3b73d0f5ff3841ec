"""Adds to an error what to write: which middleware is missing, or how a method is called."""

import inspect
import re
import traceback
from types import FrameType, TracebackType
from typing import Any

__all__ = ["explain_call", "explain_scope"]

_ROUTED = (
    "URLRouter puts it there. Route to the consumer with one; a test that calls the consumer "
    "itself sets communicator.scope[{key!r}]."
)
_PUT_BY = {
    "cookies": "CookieMiddleware puts them there: wrap the application in "
    "channels.sessions.SessionMiddlewareStack(...).",
    "session": "SessionMiddleware puts it there: wrap the application in "
    "channels.sessions.SessionMiddlewareStack(...), or in channels.auth.AuthMiddlewareStack(...).",
    "user": "AuthMiddleware puts it there: wrap the application in "
    "channels.auth.AuthMiddlewareStack(...).",
    "token": "TokenAuthMiddleware puts it there: wrap the application in "
    "channels.security.tokens.TokenAuthMiddleware(...).",
    "url_route": _ROUTED,
    "path_remaining": _ROUTED,
}

# How Python complains that a method was called with other arguments than it takes.
_MISFIT = re.compile(r"\.(\w+)\(\) (?:takes |missing |got an unexpected keyword)")


def explain_call(consumer: Any, error: BaseException) -> None:
    """Add a note to ``error``, if a method of the consumer does not take what it is called with."""
    misfit = _MISFIT.search(str(error)) if isinstance(error, TypeError) else None
    if misfit is None or error.__traceback__ is None:
        return
    name, caller = misfit[1], _innermost(error.__traceback__).tb_frame.f_globals["__name__"]
    if not str(caller).startswith("channels.") or not hasattr(consumer, name):
        return  # a call of the project's own
    parameters = "self, event"
    for base in type(consumer).__mro__:
        if "_channels_protocol_handlers" in vars(base) and name in vars(base):
            parameters = ", ".join(
                str(parameter.replace(annotation=parameter.empty))
                for parameter in inspect.signature(vars(base)[name]).parameters.values()
            )
            break
    error.add_note(f"Channels calls it with what stands here: def {name}({parameters})")


def explain_scope(error: BaseException) -> None:
    """Add a note to ``error`` that names the missing middleware, if a scope lacks the key."""
    if not isinstance(error, KeyError) or len(error.args) != 1:
        return
    key = error.args[0]
    if type(key) is not str or key not in _PUT_BY or error.__traceback__ is None:
        return
    place = _innermost(error.__traceback__)
    if _reads_a_scope(place) and _has_scope_without(place.tb_frame, key):
        note = f"The scope has no {key!r}. {_PUT_BY[key].format(key=key)}"
        if note not in getattr(error, "__notes__", ()):
            error.add_note(note)


def _innermost(place: TracebackType) -> TracebackType:
    while place.tb_next is not None:
        place = place.tb_next
    return place


def _reads_a_scope(place: TracebackType) -> bool:
    """Whether the line that raised reads a scope. Without its source, assume that it does."""
    line = traceback.extract_tb(place)[0].line
    return not line or "scope" in line


def _has_scope_without(frame: FrameType, key: str) -> bool:
    """Whether a function sees a scope, its own or an object's, in which ``key`` is missing."""
    for value in frame.f_locals.values():
        scope: Any = value
        if not issubclass(type(value), dict):  # not isinstance(), which would wake a lazy object
            try:
                scope = object.__getattribute__(value, "__dict__").get("scope")
            except AttributeError:
                continue
        if issubclass(type(scope), dict) and "type" in scope and key not in scope:
            return True
    return False

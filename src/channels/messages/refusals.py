"""What becomes of a message that is not accepted: a reply of bounded size, perhaps a close."""

import logging
from typing import Any

from .._runtime import clock
from .._runtime.faults import log_about
from .._runtime.logtext import printable
from ..close_codes import CloseCode
from ..exceptions import MessageRefused
from .declarations import Declaration

__all__ = ["close_code", "forbidden", "malformed", "reply", "select", "tell"]

# Bounds of a reply. It repeats no value that the client has sent but its own reference.
_ERRORS = 5
_DETAIL, _PATH, _MESSAGE = 200, 100, 200  # characters
_CODE, _REF = 50, 64

#: Seconds over which refused messages are counted.
_WINDOW = 60.0

_CLOSES = {
    "unauthorized": CloseCode.UNAUTHORIZED.value,
    "forbidden": CloseCode.FORBIDDEN.value,
}


def select(table: dict[str, Declaration], content: Any) -> Declaration:
    """The declaration for this content.

    Raises:
        MessageRefused: there is none.
    """
    if not isinstance(content, dict):
        raise MessageRefused("malformed", "A message is a JSON object.")
    message_type = content.get("type")
    if not isinstance(message_type, str):
        raise MessageRefused("malformed", "A message has a type, which is a string.")
    declaration = table.get(message_type)
    if declaration is None:
        raise MessageRefused("unknown_type", "Messages of this type are not accepted here.")
    return declaration


def malformed() -> MessageRefused:
    """For a text that is no JSON, or holds what is not taken."""
    return MessageRefused("malformed", "The message is no JSON, or has numbers or nesting too big.")


def forbidden(scope: Any) -> MessageRefused:
    """For a message that this client may not send."""
    user = scope.get("user")
    if "user" in scope and (user is None or not user.is_authenticated):
        return MessageRefused("unauthorized", "Sign in to send messages of this type.")
    return MessageRefused("forbidden", "You may not send this message.")


def reply(refused: MessageRefused, declaration: Declaration | None, content: Any) -> dict[str, Any]:
    """What the client is told.

    Args:
        refused: why.
        declaration: of the message, if its type is known.
        content: of the message, from which the client's reference is taken.
    """
    told: dict[str, Any] = {"type": "error", "code": printable(refused.code, _CODE)}
    if declaration is not None:
        told["of"] = declaration.type
    ref = content.get("ref") if isinstance(content, dict) else None
    if type(ref) is int or (isinstance(ref, str) and len(ref) <= _REF):
        told["ref"] = ref
    told["detail"] = printable(refused.detail, _DETAIL)
    if refused.errors:
        told["errors"] = [
            {"path": printable(path, _PATH), "message": printable(message, _MESSAGE)}
            for path, message in refused.errors[:_ERRORS]
        ]
    return told


def tell(consumer: Any, refused: MessageRefused, declaration: Declaration | None) -> None:
    """One line in the log, of which a client cannot cause more than so many."""
    of = "a message" if declaration is None else f"a message {declaration.type!r}"
    kind, text = f"refused {of} {refused.code}", "%s refused %s: %s"
    log_about(consumer, logging.WARNING, kind, text, of, printable(refused.code, _CODE))


def close_code(consumer: Any, refused: MessageRefused) -> int | None:
    """Count a refused message. With which code to close the socket, if there were too many."""
    most: int | None = consumer.max_refused_messages
    if most is None:
        return None
    now = clock.now()
    since, count = consumer._channels_refused_messages
    if not since <= now < since + _WINDOW:
        since, count = now, 0
    consumer._channels_refused_messages = since, count + 1
    if count < most:
        return None
    return _CLOSES.get(refused.code, CloseCode.POLICY_VIOLATION.value)

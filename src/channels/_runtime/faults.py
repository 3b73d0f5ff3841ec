"""Tells a client's mistakes from the application's, and reports them to log and listeners."""

import asyncio
import logging
from collections.abc import Awaitable, Callable
from typing import Any, TypeVar

from .. import signals
from ..close_codes import CloseCode
from ..exceptions import (
    BrokerError,
    InvalidChannelLayerError,
    SerializationError,
    StopConsumer,
    UnknownMessageType,
)
from . import lograte
from .consumer_signals import send_signal
from .exits import contained, is_crash, is_interrupt
from .hints import explain_call, explain_scope
from .logtext import describe, printable
from .scopes import from_server
from .types import Consumer, Scope

__all__ = [
    "CRASHED",
    "attempt",
    "blame_client",
    "client_close_code",
    "client_words",
    "contained",
    "explain",
    "is_crash",
    "is_interrupt",
    "log_about",
    "origin",
    "report",
    "tell_crash",
    "tell_late_crash",
]

logger = logging.getLogger("channels.consumer")

# What is wrong is somewhere else, and the message says where. No traceback: all connections would
# write theirs to the log at the same time.
_ELSEWHERE = (BrokerError, InvalidChannelLayerError)

# Between a project's line and the error that it meets.
_LIBRARIES = frozenset({"asgiref", "asyncio", "channels", "channels_redis", "concurrent"})

# What a socket is closed with after the application's own mistake.
CRASHED = CloseCode.INTERNAL_ERROR.value

_E = TypeVar("_E", bound=Exception)
_ATTRIBUTE = "_channels_close_code"
_WORDS = "_channels_last_words"


def blame_client(error: _E, close_code: int, *, status: int = 500, told: str = "") -> _E:
    """Mark ``error`` as caused by what the client sent, and return it.

    Its type is left alone, so that a project's ``except json.JSONDecodeError`` still matches. If
    no code catches it, the socket is closed with ``close_code`` (RFC 6455, section 7.4.1) and one
    line is logged, without a traceback.

    Args:
        error: the error.
        close_code: what an open socket is closed with.
        status: the HTTP status to refuse a handshake with.
        told: the reason, for the client.
    """
    setattr(error, _ATTRIBUTE, close_code)
    setattr(error, _WORDS, {"status": status, "reason": told})
    return error


def client_words(error: BaseException) -> dict[str, Any]:
    """Status and reason that :func:`blame_client` gave this error, as arguments of a goodbye."""
    words: dict[str, Any] = getattr(error, _WORDS, {})
    return words


def client_close_code(error: BaseException) -> int | None:
    """The close code that :func:`blame_client` gave this error, if it did."""
    code: int | None = getattr(error, _ATTRIBUTE, None)
    return code


# What consumers ask of a channel layer, which is None where none is configured, and what they have
# themselves only where there is one.
_OF_A_LAYER = frozenset(
    {"group_add", "group_discard", "group_send", "new_channel", "receive", "send"}
)
_WITH_A_LAYER = frozenset({"channel_name", "channel_receive"})


def explain(consumer: Consumer, error: BaseException) -> None:
    """Add a note to ``error``: what is missing around the consumer, or how a method is called."""
    explain_scope(error)
    explain_call(consumer, error)
    if not isinstance(error, AttributeError) or getattr(consumer, "channel_layer", 0) is not None:
        return
    if (error.obj is None and error.name in _OF_A_LAYER) or (
        error.obj is consumer and error.name in _WITH_A_LAYER
    ):
        alias = getattr(consumer, "channel_layer_alias", "default")
        error.add_note(
            f"{type(consumer).__qualname__}.channel_layer is None, because the setting "
            f"CHANNEL_LAYERS has no entry {alias!r}. For one process this is enough:\n"
            f'CHANNEL_LAYERS = {{"{alias}": {{"BACKEND": "channels.layers.InMemoryChannelLayer"}}}}'
        )


def report(consumer: Consumer, error: BaseException, *, of_client: bool = True) -> int:
    """Log what a handler raised, and signal it if the mistake is the application's own.

    Args:
        consumer: the consumer that has the handler which raised.
        error: what it raised, a crash by :func:`is_crash`.
        of_client: whether it was handling what the client sent, and not a message of the layer,
            for which the client is not to blame.

    Returns:
        The code to close the socket with.
    """
    code = client_close_code(error) if of_client else None
    kind = type(error).__name__
    if code is not None:
        text = printable(error)
        log_about(consumer, logging.WARNING, kind, "%s closed with %d: %s: %s", code, kind, text)
        return code
    if isinstance(error, UnknownMessageType):
        log_about(consumer, logging.ERROR, kind, "%s: %s", str(error))
    elif isinstance(error, _ELSEWHERE):
        text = printable(error, 500)
        log_about(consumer, logging.ERROR, kind, "%s closed with %d: %s: %s", CRASHED, kind, text)
    elif isinstance(error, SerializationError):
        # Often of what a client sent, which can do so again and again: a line, and no traceback.
        text, place = printable(error, 500), _sender(error)
        said = "%s closed with %d: %s: %s; sent by %s"
        log_about(consumer, logging.ERROR, kind, said, CRASHED, kind, text, place)
    else:
        kind = f"{kind} {origin(error)}"
        log_about(consumer, logging.ERROR, kind, "%s crashed", exc_info=error)
    send_signal(signals.consumer_crashed, consumer, exception=error)
    return CRASHED


def tell_crash(consumer: Consumer, scope: Scope, error: BaseException, *, of_client: bool) -> int:
    """Explain ``error``, and :func:`report` it if a server called the consumer.

    A failure in doing so, of a log handler or a listener of the project's, is only logged: it must
    not keep the connection from ending.

    Args:
        consumer: the consumer whose handler raised.
        scope: the scope as the server made it, whatever the consumer has in its place.
        error: what was raised.
        of_client: whether an event of the client was being handled.

    Returns:
        The code to close the socket with.
    """
    try:
        explain(consumer, error)
        if from_server(scope):
            return report(consumer, error, of_client=of_client)
    except Exception as failure:  # noqa: BLE001 - of whatever a project has put in the way
        _cannot_tell(consumer, failure)
    return CRASHED


async def attempt(
    consumer: Consumer, scope: Scope, step: Callable[[], Awaitable[Any]]
) -> asyncio.CancelledError | None:
    """Take a step towards the end of a connection. A crash in it is reported, and not raised.

    Args:
        consumer: the consumer of the connection.
        scope: the scope as the server made it, whatever the consumer has in its place.
        step: called and awaited.

    Returns:
        The cancellation that was requested meanwhile, if one was.
    """
    task = asyncio.current_task()
    requests = task.cancelling() if task is not None else 0
    try:
        await step()
    except StopConsumer:
        pass
    except BaseException as error:
        if not is_crash(error, task, requests):
            if isinstance(error, asyncio.CancelledError):
                return error
            raise
        tell_late_crash(consumer, scope, error)
    return None


def tell_late_crash(consumer: Consumer, scope: Scope, error: BaseException) -> None:
    """Report what was raised while the connection ended, which is closed in another way already.

    Args:
        consumer: the consumer of the connection.
        scope: the scope as the server made it, whatever the consumer has in its place.
        error: what was raised.
    """
    try:
        explain(consumer, error)
        kind, text = f"leaving {origin(error)}", "%s failed while it was disconnecting"
        log_about(consumer, logging.ERROR, kind, text, exc_info=error)
        if from_server(scope):
            send_signal(signals.consumer_crashed, consumer, exception=error)
    except Exception as failure:  # noqa: BLE001 - see tell_crash()
        _cannot_tell(consumer, failure)


def _cannot_tell(consumer: Consumer, failure: Exception) -> None:
    message = f"{type(consumer).__qualname__} crashed, and to say so failed as well"
    asyncio.get_running_loop().call_exception_handler({"message": message, "exception": failure})


def log_about(
    consumer: Consumer,
    level: int,
    kind: str,
    message: str,
    *arguments: object,
    exc_info: BaseException | None = None,
) -> None:
    """Log a line about ``consumer``, unless too many of its class say the same."""
    lograte.log(
        logger,
        level,
        f"{type(consumer).__qualname__} {kind}",
        message,
        describe(consumer),
        *arguments,
        limited=from_server(consumer.scope),
        exc_info=exc_info,
    )


def origin(error: BaseException) -> str:
    """The file and line that raised ``error``. Crashes at one line count as one kind."""
    traceback = error.__traceback__
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return f"{traceback.tb_frame.f_code.co_filename}:{traceback.tb_lineno}"


def _sender(error: BaseException) -> str:
    """The line of the project that called what raised ``error``."""
    place, traceback = "?", error.__traceback__
    while traceback is not None:
        frame = traceback.tb_frame
        if frame.f_globals.get("__name__", "").partition(".")[0] not in _LIBRARIES:
            place = f"{frame.f_code.co_name}() in {frame.f_code.co_filename}:{traceback.tb_lineno}"
        traceback = traceback.tb_next
    return place

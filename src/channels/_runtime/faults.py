"""Telling a client's mistakes from the application's, and telling people of them."""

import logging
from typing import TypeVar

from .. import signals
from ..exceptions import BrokerError, InvalidChannelLayerError, UnknownMessageType
from .announce import announce
from .denial import printable, who
from .types import Consumer

__all__ = ["CRASHED", "blame_client", "client_close_code", "report"]

logger = logging.getLogger("channels.consumer")

# What is wrong is somewhere else, and the message says where: no traceback, which everybody who is
# connected would leave in the log at the same time.
_ELSEWHERE = (BrokerError, InvalidChannelLayerError)

# What a socket is closed with after the application's own mistake (RFC 6455, section 7.4.1).
CRASHED = 1011

_E = TypeVar("_E", bound=Exception)
_ATTRIBUTE = "_channels_close_code"


def blame_client(error: _E, close_code: int) -> _E:
    """Mark ``error`` as caused by what the client sent, and return it.

    Its type is left alone, so that a project's ``except json.JSONDecodeError`` still matches. If
    nobody catches it, the socket is closed with ``close_code`` (RFC 6455, section 7.4.1) and one
    line is logged, without a traceback.
    """
    setattr(error, _ATTRIBUTE, close_code)
    return error


def client_close_code(error: BaseException) -> int | None:
    """The close code that :func:`blame_client` gave this error, if it did."""
    code: int | None = getattr(error, _ATTRIBUTE, None)
    return code


def report(consumer: Consumer, error: Exception) -> int:
    """Tell the log, and of the application's own mistakes the listeners too.

    Returns:
        The code to close the socket with.
    """
    code = client_close_code(error)
    if code is not None:
        kind, text = type(error).__name__, printable(error)
        logger.warning("%s closed with %d: %s: %s", who(consumer), code, kind, text)
        return code
    if isinstance(error, UnknownMessageType):
        logger.error("%s: %s", who(consumer), error)
    elif isinstance(error, _ELSEWHERE):
        kind, text = type(error).__name__, printable(error, 500)
        logger.error("%s closed with %d: %s: %s", who(consumer), CRASHED, kind, text)
    else:
        logger.error("%s crashed", who(consumer), exc_info=error)
    announce(signals.consumer_crashed, consumer, exception=error)
    return CRASHED

"""Telling a client's mistakes from the application's."""

from typing import TypeVar

__all__ = ["blame_client", "client_close_code"]

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

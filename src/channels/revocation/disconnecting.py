"""Disconnecting by hand: those of a user, of a session, of a token, of a group, or one."""

from collections.abc import Iterable
from typing import Any

from django.db.models import Model
from django.utils.functional import LazyObject

from .. import DEFAULT_CHANNEL_LAYER, control
from .._runtime.arguments import as_close_code, as_close_reason, as_text, shown
from ..close_codes import CloseCode
from ..db import database_sync_to_async
from ..exceptions import InvalidArgument, InvalidChannelLayerError
from ..layers import get_channel_layer, get_sync_channel_layer
from .finding import digest, end, find

__all__ = [
    "COMMAND",
    "adisconnect_channel",
    "adisconnect_group",
    "adisconnect_session",
    "adisconnect_token",
    "adisconnect_user",
    "disconnect_channel",
    "disconnect_group",
    "disconnect_session",
    "disconnect_token",
    "disconnect_user",
    "which",
]

#: The command, with ``by``, ``value``, ``code`` and ``reason``. It is answered with the number of
#: connections that end.
COMMAND = "disconnect"

_CODE = CloseCode.UNAUTHORIZED.value


def disconnect_user(user: Any, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect all that a user has connected, in every process.

    WebSockets are closed, and what their clients have sent before is not handled any more.
    Handshakes are refused, streams of events end. The function does not wait until that has
    happened, so it cannot tell how many they are.

    Args:
        user: the user, or the primary key.
        code: what WebSockets are closed with.
        reason: for the clients of WebSockets, at most 123 bytes.

    Raises:
        InvalidArgument: an argument is not what it should be; says what to write.
        EventLoopRunning: an event loop runs in this thread: await :func:`adisconnect_user`.
        CallTimeout: the layer's broker has not answered within 10 seconds.
        BrokerError: it refuses. In both cases it has been done in this process.
    """
    control.publish(COMMAND, **which("user", user), **_told(code, reason))


async def adisconnect_user(user: Any, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines, for as long as the layer tries to reach its broker.

    A lazy one, such as ``request.user``, is loaded in a thread.
    See :func:`disconnect_user`.
    """
    if isinstance(user, LazyObject):
        await database_sync_to_async(bool)(user)
    await control.apublish(COMMAND, **which("user", user), **_told(code, reason))


def disconnect_session(session_key: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect all that uses a session. The session itself stays. See :func:`disconnect_user`."""
    control.publish(COMMAND, **which("session", session_key), **_told(code, reason))


async def adisconnect_session(session_key: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_session`."""
    await control.apublish(COMMAND, **which("session", session_key), **_told(code, reason))


def disconnect_token(token_id: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect all that came in with a token. The token itself stays as good as it was.

    See :func:`disconnect_user`.

    Args:
        token_id: the name of the token, which is no secret: the ``jti`` of a JSON Web Token, or
            what ``scope["token"].token_id`` says.
        code: what WebSockets are closed with.
        reason: for the clients of WebSockets, at most 123 bytes.
    """
    control.publish(COMMAND, **which("token", token_id), **_told(code, reason))


async def adisconnect_token(token_id: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_token`."""
    await control.apublish(COMMAND, **which("token", token_id), **_told(code, reason))


def disconnect_channel(channel_name: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect the consumer that has this channel. See :func:`disconnect_user`."""
    control.publish(COMMAND, **which("channel", channel_name), **_told(code, reason))


async def adisconnect_channel(channel_name: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_channel`."""
    await control.apublish(COMMAND, **which("channel", channel_name), **_told(code, reason))


def disconnect_group(
    group: str, *, code: int = _CODE, reason: str = "", alias: str = DEFAULT_CHANNEL_LAYER
) -> None:
    """Disconnect every member of a group of a channel layer.

    The members get it as a message of the group, in its order: after what was sent to the group
    before. A member whose channel is full misses it, as any other message.

    Args:
        group: the group's name.
        code: what WebSockets are closed with.
        reason: for the clients of WebSockets, at most 123 bytes.
        alias: the channel layer's.

    Raises:
        InvalidNameError: the group has no such name.
        InvalidArgument: another argument is not what it should be; says what to write.
        InvalidChannelLayerError: there is no such layer.
        EventLoopRunning: an event loop runs in this thread: await :func:`adisconnect_group`.
    """
    get_sync_channel_layer(alias).group_send(group, _message(code, reason))


async def adisconnect_group(
    group: str, *, code: int = _CODE, reason: str = "", alias: str = DEFAULT_CHANNEL_LAYER
) -> None:
    """The same for coroutines; see :func:`disconnect_group`."""
    layer: Any = get_channel_layer(alias)
    if layer is None:
        raise InvalidChannelLayerError(f"CHANNEL_LAYERS has no layer {alias!r}; configure it")
    await layer.group_send(group, _message(code, reason))


def _message(code: int, reason: str) -> dict[str, Any]:
    return {"type": "channels.disconnect", **_told(code, reason)}


def _told(code: int, reason: str) -> dict[str, Any]:
    """What clients are told."""
    return {"code": as_close_code(code), "reason": as_close_reason(reason)}


def which(by: str, value: Any = None) -> dict[str, Any]:
    """The arguments of the command that say which connections it is about.

    Raises:
        InvalidArgument: the value is none by which there can be connections.
    """
    if by == "user":
        value = _key_of(value)
    elif by == "session":
        value = digest(as_text("session_key", value, "request.session.session_key"))
    elif by == "token":
        value = str(value) if isinstance(value, int) and not isinstance(value, bool) else value
        value = digest(as_text("token_id", value, "scope['token'].token_id"))
    else:
        value = as_text("channel_name", value, "consumer.channel_name")
    return {"by": by, "value": value}


def _key_of(user: Any) -> str:
    """The primary key of a user, or the key itself, as text."""
    key = getattr(user, "pk", user)
    is_other = isinstance(user, Model) and not hasattr(user, "is_authenticated")
    is_none = isinstance(key, bool | float | type | Iterable) and not isinstance(key, str)
    if key is user and (is_none or key is None or key == ""):
        raise InvalidArgument(
            "user must be a user, such as request.user, or the primary key of one, such as 7; not "
            f"{shown(user)}"
        )
    if is_other or isinstance(user, type):
        raise InvalidArgument(
            f"user must be a row of your user model, or its primary key; yours is of "
            f"{type(user).__name__}: write the user that it belongs to"
        )
    if key is None:
        raise InvalidArgument(
            f"user must be one that is signed in, or that is saved at least; {shown(user)} has no "
            "primary key, so that nothing can be connected as this user"
        )
    return str(key)


def _disconnect(by: str, value: str | None, code: int, reason: str) -> int:
    return end(find(by, () if value is None else (value,)), code, reason)


control.register(COMMAND, _disconnect)

"""Disconnecting by hand: those of a user, of a session, of a token, of a group, or one."""

from typing import Any

from .. import DEFAULT_CHANNEL_LAYER, control
from ..close_codes import CloseCode
from ..exceptions import InvalidChannelLayerError
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
        EventLoopRunning: an event loop runs in this thread: await :func:`adisconnect_user`.
        CallTimeout: the layer's broker has not answered within 10 seconds.
        BrokerError: it refuses. In both cases it has been done in this process.
    """
    control.publish(COMMAND, **which("user", user), code=code, reason=reason)


async def adisconnect_user(user: Any, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines, for as long as the layer tries to reach its broker.

    See :func:`disconnect_user`.
    """
    await control.apublish(COMMAND, **which("user", user), code=code, reason=reason)


def disconnect_session(session_key: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect all that uses a session. The session itself stays. See :func:`disconnect_user`."""
    control.publish(COMMAND, **which("session", session_key), code=code, reason=reason)


async def adisconnect_session(session_key: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_session`."""
    await control.apublish(COMMAND, **which("session", session_key), code=code, reason=reason)


def disconnect_token(token_id: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect all that came in with a token. The token itself stays as good as it was.

    See :func:`disconnect_user`.

    Args:
        token_id: the name of the token, which is no secret: the ``jti`` of a JSON Web Token, or
            what ``scope["token"].token_id`` says.
        code: what WebSockets are closed with.
        reason: for the clients of WebSockets, at most 123 bytes.
    """
    control.publish(COMMAND, **which("token", token_id), code=code, reason=reason)


async def adisconnect_token(token_id: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_token`."""
    await control.apublish(COMMAND, **which("token", token_id), code=code, reason=reason)


def disconnect_channel(channel_name: str, *, code: int = _CODE, reason: str = "") -> None:
    """Disconnect the consumer that has this channel. See :func:`disconnect_user`."""
    control.publish(COMMAND, **which("channel", channel_name), code=code, reason=reason)


async def adisconnect_channel(channel_name: str, *, code: int = _CODE, reason: str = "") -> None:
    """The same for coroutines; see :func:`disconnect_channel`."""
    await control.apublish(COMMAND, **which("channel", channel_name), code=code, reason=reason)


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
    return {"type": "channels.disconnect", "code": code, "reason": reason}


def which(by: str, value: Any = None) -> dict[str, Any]:
    """The arguments of the command that say which connections it is about."""
    if by == "user":
        value = str(getattr(value, "pk", value))
    elif by in ("session", "token"):
        value = digest(str(value))
    return {"by": by, "value": value}


def _disconnect(by: str, value: str | None, code: int, reason: str) -> int:
    return end(find(by, () if value is None else (value,)), code, reason)


control.register(COMMAND, _disconnect)

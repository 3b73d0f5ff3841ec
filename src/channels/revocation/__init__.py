"""Ending the connections of those who may not go on, in every process.

By hand, with the functions here; and by itself, when somebody signs out, changes the password, is
deactivated or deleted, when the session expires, and when a token is revoked (the setting
``CHANNELS_REVOCATION``).
"""

from .disconnecting import (
    adisconnect_channel,
    adisconnect_group,
    adisconnect_session,
    adisconnect_token,
    adisconnect_user,
    disconnect_channel,
    disconnect_group,
    disconnect_session,
    disconnect_token,
    disconnect_user,
)

__all__ = [
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
]

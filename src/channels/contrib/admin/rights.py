"""Who may watch, and who may disconnect: asked again and again, for rights can be taken away."""

from typing import Any, NamedTuple

from django.core import signing

from ..._runtime.types import Scope
from ...auth import get_user
from ...db import database_sync_to_async

__all__ = ["DISCONNECT", "VIEW", "Rights", "admit", "admitted", "rights_of"]

VIEW = "channels_admin.view_liveconnection"
DISCONNECT = "channels_admin.disconnect_liveconnection"

#: Seconds for which a page that was loaded may connect again.
PAGE_AGE = 12 * 3600

_SALT = "channels.contrib.admin"


class Rights(NamedTuple):
    """What a user may do now.

    Args:
        user: of the session; anonymous if it has ended.
        view: whether the user may see the page.
        disconnect: whether the user may end connections.
    """

    user: Any
    view: bool = False
    disconnect: bool = False


def admit(user: Any, *, disconnect: bool) -> str:
    """What the page shows to its WebSocket: that the admin has let this user see it.

    An admin site may ask for more than a session, and a page of another site has nothing to show.

    Args:
        user: for whom the page was made.
        disconnect: whether it has buttons to disconnect.
    """
    return signing.dumps([str(user.pk), disconnect], salt=_SALT)


def admitted(page: str, user: Any) -> bool | None:
    """Whether a page that the admin has made for this user has buttons to disconnect.

    Returns:
        None if the admin has made no such page for this user.

    Raises:
        SignatureExpired: it has, but too long ago.
    """
    try:
        holder, disconnect = signing.loads(page, salt=_SALT, max_age=PAGE_AGE)
    except signing.SignatureExpired:
        raise
    except signing.BadSignature:
        return None
    return bool(disconnect) if holder == str(user.pk) else None


async def rights_of(scope: Scope) -> Rights:
    """What the user of a connection may do, by session and database as they are now."""
    user = await get_user(scope)
    return await _rights_of(user)


@database_sync_to_async
def _rights_of(user: Any) -> Rights:
    if not (user.is_active and getattr(user, "is_staff", False) and user.has_perm(VIEW)):
        return Rights(user)
    return Rights(user, view=True, disconnect=user.has_perm(DISCONNECT))

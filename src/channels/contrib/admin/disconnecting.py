"""Ends connections for somebody, and writes down who has ended which."""

from typing import Any, Literal

import msgspec
from django.contrib.admin.models import CHANGE, LogEntry
from django.contrib.contenttypes.models import ContentType
from django.db import router, transaction
from django.utils.translation import gettext, gettext_lazy

from ...db import database_sync_to_async
from ...revocation import adisconnect_channel, adisconnect_group, adisconnect_user
from .models import LiveConnection
from .names import name_of

__all__ = ["Target", "adisconnect"]


_KINDS = {
    "user": gettext_lazy("user"),
    "group": gettext_lazy("group"),
    "channel": gettext_lazy("channel"),
}


class Target(msgspec.Struct):
    """Which connections are to end.

    Args:
        by: what they have in common.
        value: the primary key of the user, the name of the group, or that of the channel.
        layer: the alias of the group's layer.
    """

    by: Literal["user", "group", "channel"]
    value: str
    layer: str = "default"


async def adisconnect(target: Target, user: Any) -> None:
    """End connections in every process. What cannot be written down is not done.

    Args:
        target: which.
        user: who does it, for the admin's log.

    Raises:
        InvalidChannelLayerError: there is no such layer.
        BrokerError: other processes cannot be reached.
    """
    await _write_down(target, user)
    if target.by == "user":
        await adisconnect_user(target.value)
    elif target.by == "group":
        await adisconnect_group(target.value, alias=target.layer)
    else:
        await adisconnect_channel(target.value)


@database_sync_to_async
def _write_down(target: Target, user: Any) -> None:
    name = name_of(target.value) if target.by == "user" else ""
    what = f"{_KINDS[target.by]} {target.value}" + (f" ({name})" if name else "")
    text = gettext("Disconnected the connections of %(what)s.") % {"what": what}
    with transaction.atomic(using=router.db_for_write(LogEntry)):
        LogEntry.objects.create(
            user_id=user.pk,
            content_type=ContentType.objects.get_for_model(LiveConnection),
            object_id=target.value,
            object_repr=what[:200],
            action_flag=CHANGE,
            change_message=text,
        )

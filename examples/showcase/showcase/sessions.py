"""Tells the connections of a session that it has ended.

A connection keeps the user that it began with. A consumer that joins the group of its session gets
a message ``signed.out`` when somebody signs out there, in whatever tab.
"""

from typing import Any

from channels.layers import group_send_on_commit
from django.conf import settings
from django.contrib.sessions.models import Session
from django.db.models.signals import post_delete
from django.dispatch import receiver
from django.utils.crypto import salted_hmac


def group_of(session_key: str) -> str:
    """The group of all connections of a session. Its name does not give the key away."""
    return "session." + salted_hmac("showcase.sessions", session_key).hexdigest()


@receiver(post_delete, sender=Session)
def end_connections(instance: Session, **kwargs: Any) -> None:
    """Tell them, whatever channel layer they use, once it is gone for good."""
    group = group_of(instance.session_key)
    for alias in settings.CHANNEL_LAYERS:
        group_send_on_commit(group, {"type": "signed.out"}, alias=alias)

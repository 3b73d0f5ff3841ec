"""Tells the pages of a person that something has changed, after the transaction that changed it.

``save()``, ``create()`` and ``delete()`` send signals. ``update()`` and ``bulk_create()`` do not.
"""

from typing import Any

from channels.layers import group_send_on_commit
from django.db.models.signals import post_delete, post_save
from django.dispatch import receiver

from .models import Notification


def group_of(person_pk: int) -> str:
    """The group of all pages of a person."""
    return f"notifications.{person_pk}"


@receiver(post_save, sender=Notification)
def tell_saved(instance: Notification, using: str, **kwargs: Any) -> None:
    """One notification is new, or has changed."""
    message = {"type": "notification.saved", "id": instance.pk}
    group_send_on_commit(group_of(instance.person_id), message, using=using)


@receiver(post_delete, sender=Notification)
def tell_deleted(instance: Notification, using: str, **kwargs: Any) -> None:
    """One is gone."""
    tell_changed(instance.person_id, using)


def tell_changed(person_pk: int, using: str | None = None) -> None:
    """Some were read, or are gone. Call it after ``update()``, which sends no signals."""
    group_send_on_commit(group_of(person_pk), {"type": "notifications.changed"}, using=using)

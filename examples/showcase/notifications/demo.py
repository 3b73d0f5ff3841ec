"""What ``manage.py create_demo`` makes for this app."""

from django.conf import settings
from django.contrib.auth import get_user_model

from .models import Notification


def create() -> None:
    """Something to read for the demo accounts, unless they have read something already."""
    for person in get_user_model().objects.filter(username__in=settings.DEMO_ACCOUNTS):
        if not person.notifications.exists():
            Notification.objects.create(person=person, text="Welcome to the showcase.")

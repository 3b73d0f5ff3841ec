"""Tells somebody something, from a shell or a cron job."""

from typing import Any

from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand, CommandError, CommandParser

from notifications.models import Notification


class Command(BaseCommand):
    """Saves a notification."""

    help = (
        "Notify somebody. This is a process of its own: open pages show it at once if the server "
        "shares a broker with it (SHOWCASE_REDIS), otherwise when they connect again."
    )

    def add_arguments(self, parser: CommandParser) -> None:
        parser.add_argument("person")
        parser.add_argument("text")

    def handle(self, *args: Any, person: str, text: str, **options: Any) -> None:
        found = get_user_model().objects.filter(username=person).first()
        if found is None:
            raise CommandError(f"There is nobody named {person}.")
        Notification.objects.create(person=found, text=text)

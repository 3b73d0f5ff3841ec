"""Makes what a visitor needs to try the chat at once."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand

from chat.models import Room


class Command(BaseCommand):
    """Creates the demo accounts and a few rooms, unless they exist already."""

    help = "Create the demo accounts and a few rooms, unless they exist already."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        for name, password in settings.DEMO_ACCOUNTS.items():
            if not users.filter(username=name).exists():
                users.create_user(name, password=password)
        for name in ("Lobby", "Django", "Random"):
            Room.objects.get_or_create(name=name)
        accounts = ", ".join(f"{name} / {word}" for name, word in settings.DEMO_ACCOUNTS.items())
        self.stdout.write(f"Demo accounts (name / password): {accounts}")

"""Makes the accounts that the sign-in page offers."""

from typing import Any

from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Creates the demo customers, unless they exist already."""

    help = "Create the demo customers, unless they exist already."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        for name, password in settings.DEMO_ACCOUNTS.items():
            if not users.filter(username=name).exists():
                users.create_user(name, password=password)
        accounts = ", ".join(f"{name} / {word}" for name, word in settings.DEMO_ACCOUNTS.items())
        self.stdout.write(f"Demo customers (name / password): {accounts}")

"""Makes what a visitor needs to try the showcase at once."""

from importlib import import_module
from importlib.util import find_spec
from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import get_user_model
from django.core.management.base import BaseCommand


class Command(BaseCommand):
    """Creates the demo accounts, and what each app's ``demo.create()`` makes."""

    help = "Create the demo accounts and what the pages show at first, unless it exists already."

    def handle(self, *args: Any, **options: Any) -> None:
        users = get_user_model().objects
        for name, password in settings.DEMO_ACCOUNTS.items():
            if not users.filter(username=name).exists():
                # Staff: the admin is one of the ways to send a notification.
                users.create_superuser(name, password=password)
        for app in apps.get_app_configs():
            if find_spec(f"{app.name}.demo") is not None:
                import_module(f"{app.name}.demo").create()
        accounts = ", ".join(f"{name} / {word}" for name, word in settings.DEMO_ACCOUNTS.items())
        self.stdout.write(f"Demo accounts (name / password): {accounts}")

"""What ``manage.py create_demo`` makes for this app."""

from .models import Room


def create() -> None:
    """A few rooms, unless they exist already."""
    for name in ("Lobby", "Django", "Random"):
        Room.objects.get_or_create(name=name)

"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class GameConfig(AppConfig):
    """Game."""

    name = "game"
    verbose_name = "Game"
    summary = "The server decides, twenty times a second."
    index = "game"

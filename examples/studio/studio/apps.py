"""The studio."""

from django.apps import AppConfig


class StudioConfig(AppConfig):
    """Pictures that customers order and watch."""

    name = "studio"

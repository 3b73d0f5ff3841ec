"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class ImagesConfig(AppConfig):
    """Images."""

    name = "images"
    verbose_name = "Images"
    summary = "Progress with previews, and parameters that change under way."
    index = "images"

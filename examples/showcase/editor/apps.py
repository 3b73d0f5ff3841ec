"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class EditorConfig(AppConfig):
    """Editor."""

    name = "editor"
    verbose_name = "Editor"
    summary = "Several people type in one document, and it converges."
    index = "editor"

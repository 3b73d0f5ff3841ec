"""What every page of the showcase shares: accounts, the frame, and the index of the apps."""

from django.apps import AppConfig


class ShowcaseConfig(AppConfig):
    """The frame."""

    name = "showcase"
    verbose_name = "Showcase"

    def ready(self) -> None:
        """Connect the signals."""
        from . import sessions  # noqa: F401, PLC0415

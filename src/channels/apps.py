"""The Django application: system checks and what must be in place before the first connection."""

from django.apps import AppConfig, apps

__all__ = ["ChannelsConfig"]


class ChannelsConfig(AppConfig):
    """Registers the system checks and starts watching database connections."""

    name = "channels"
    label = "channels"
    verbose_name = "Channels"

    def ready(self) -> None:
        """Import what registers itself: checks, and what watches processes."""
        from . import checks, revocation  # noqa: F401, PLC0415
        from ._runtime import database  # noqa: PLC0415
        from .control import plane  # noqa: PLC0415
        from .layers import nowhere  # noqa: PLC0415
        from .live import asking  # noqa: PLC0415

        database.watch()
        nowhere.watch()
        plane.watch()
        asking.watch()
        if apps.is_installed("django.contrib.auth"):
            from .revocation import events, hearing, token_events, watching  # noqa: PLC0415

            watching.watch()
            hearing.hear()
            events.watch()
            token_events.watch()

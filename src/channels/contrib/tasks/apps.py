"""The Django application, which brings the commands and has backends checked."""

from django.apps import AppConfig

__all__ = ["TasksConfig"]


class TasksConfig(AppConfig):
    """Brings ``runtasks``, ``tasks_dead`` and ``tasks_status``, and the check of ``TASKS``."""

    name = "channels.contrib.tasks"
    label = "channels_tasks"
    verbose_name = "Background tasks"

    def ready(self) -> None:
        """Import the framework, which registers its check of the backends in ``TASKS``."""
        from . import compat  # noqa: F401, PLC0415

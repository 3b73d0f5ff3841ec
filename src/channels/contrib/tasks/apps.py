"""The Django application, which brings the commands."""

from django.apps import AppConfig

__all__ = ["TasksConfig"]


class TasksConfig(AppConfig):
    """Brings ``runtasks``, ``tasks_dead`` and ``tasks_status``."""

    name = "channels.contrib.tasks"
    label = "channels_tasks"
    verbose_name = "Background tasks"

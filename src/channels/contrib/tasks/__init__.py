"""Django's tasks framework on the broker of a channel layer.

A backend for the setting ``TASKS``, and the commands that go with it::

    INSTALLED_APPS = ["channels", "channels.contrib.tasks", ...]
    TASKS = {"default": {"BACKEND": "channels.contrib.tasks.ChannelsBackend"}}
"""

from .backend import ChannelsBackend
from .exceptions import (
    InvalidResult,
    InvalidTaskOptions,
    QueueFull,
    TaskTimeout,
    UnknownTask,
    WorkerFailed,
    WorkerLost,
)
from .worker import TaskWorker

__all__ = [
    "ChannelsBackend",
    "InvalidResult",
    "InvalidTaskOptions",
    "QueueFull",
    "TaskTimeout",
    "TaskWorker",
    "UnknownTask",
    "WorkerFailed",
    "WorkerLost",
]

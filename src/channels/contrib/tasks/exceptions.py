"""What can go wrong with a background task."""

from django.core.exceptions import ImproperlyConfigured

from channels.exceptions import ChannelFull, ChannelsError

__all__ = [
    "InvalidResult",
    "InvalidTaskOptions",
    "QueueFull",
    "TaskTimeout",
    "UnknownTask",
    "WorkerFailed",
    "WorkerLost",
]


class InvalidTaskOptions(ChannelsError, ImproperlyConfigured):
    """The ``OPTIONS`` of a backend in the setting ``TASKS`` are wrong; says which and why."""


class QueueFull(ChannelFull):
    """The queue already holds ``capacity`` tasks, so this one was not enqueued."""


class UnknownTask(ChannelsError, LookupError):
    """A path leads to no task here, or what was stored of a task cannot be read."""


class InvalidResult(ChannelsError, TypeError, ValueError):
    """A task has returned what cannot be stored: it is no JSON, or too large."""


class TaskTimeout(ChannelsError, TimeoutError):
    """A task has run for longer than ``timeout`` seconds."""


class WorkerLost(ChannelsError):
    """The worker that ran a task gave no sign of life any more, so the attempt counts as failed."""


class WorkerFailed(ChannelsError):
    """A worker cannot go on; says why."""

"""Django's tasks framework, wherever it comes from: one contract, two packages.

Django has it from version 6.0 on, as ``django.tasks``. For Django 5.2 there is the package
``django-tasks``. Nothing else of Channels imports either of them.
"""

from typing import TYPE_CHECKING

import django
from django.core.exceptions import ImproperlyConfigured

if TYPE_CHECKING or django.VERSION >= (6, 0):  # pragma: no cover - one Django is installed
    from django.tasks import (
        TaskContext,
        TaskResult,
        TaskResultStatus,
        checks,
        task,
        task_backends,
    )
    from django.tasks.backends.base import BaseTaskBackend
    from django.tasks.base import Task, TaskError
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_enqueued, task_finished, task_started
    from django.utils.json import normalize_json
else:  # pragma: no cover - one Django is installed
    try:
        # Who does not have the package in INSTALLED_APPS is to have its check nevertheless.
        from django_tasks import (
            TaskContext,
            TaskResult,
            TaskResultStatus,
            checks,
            task,
            task_backends,
        )
        from django_tasks.backends.base import BaseTaskBackend
        from django_tasks.base import Task, TaskError
        from django_tasks.exceptions import TaskResultDoesNotExist
        from django_tasks.signals import task_enqueued, task_finished, task_started
        from django_tasks.utils import normalize_json
    except ImportError as error:
        raise ImproperlyConfigured(
            "There is no tasks framework, which channels.contrib.tasks needs: it comes with Django "
            '6.0, and for older versions: pip install "channels[tasks]"'
        ) from error

__all__ = [
    "BaseTaskBackend",
    "Task",
    "TaskContext",
    "TaskError",
    "TaskResult",
    "TaskResultDoesNotExist",
    "TaskResultStatus",
    "checks",
    "normalize_json",
    "task",
    "task_backends",
    "task_enqueued",
    "task_finished",
    "task_started",
]

"""The tasks for backends of Django's tasks."""

import django
import jobs
from django.apps import apps

if not apps.ready:
    django.setup()

try:
    from django.tasks import task
except ImportError:  # Django 5.2
    from django_tasks import task


@task
def mark(sent: int) -> None:
    jobs.mark(sent)


@task
def hold(sent: int, seconds: float) -> None:
    jobs.hold(sent, seconds)


ENQUEUE = {"mark": mark.enqueue, "hold": hold.enqueue}

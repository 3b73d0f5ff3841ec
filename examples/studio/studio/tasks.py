"""The painter: a task of Django, which a worker runs in a thread."""

import base64
import time
from typing import Any

from channels.contrib.progress import Progress
from django.conf import settings
from django.dispatch import receiver

try:
    from django.tasks import TaskContext, TaskResultStatus, task
    from django.tasks.exceptions import TaskResultDoesNotExist
    from django.tasks.signals import task_finished
except ImportError:  # Django 5.2: the package django-tasks has the same.
    from django_tasks import TaskContext, TaskResultStatus, task
    from django_tasks.exceptions import TaskResultDoesNotExist
    from django_tasks.signals import task_finished

from .models import Order
from .painting import Painting

__all__ = ["TaskResultDoesNotExist", "paint"]

#: Passes after which the canvas is saved. At most that many are lost with a worker.
SAVE_EVERY = 15
#: Passes after which a preview is shown.
SHOW_EVERY = 4
#: Seconds without a sign of life after which pages are told that a painter is lost.
LOST_AFTER = 3.0
#: Seconds that a painter waits for the task that is to have its place.
PATIENCE = 1.0


@task(takes_context=True)
def paint(context: TaskContext, pk: int, version: int) -> str:
    """Paint one version of an order, until it is finished or nobody wants it any more.

    A task may be run twice: when its worker dies, another one runs it again. So it begins with what
    is saved, whoever has saved that, and whatever it saves is bound to the version.
    """
    order = Order.objects.filter(pk=pk, version=version).first()
    painter = context.task_result.worker_ids[-1]
    if order is None or not order.advance(state=Order.State.PAINTING, painter=painter):
        return "not wanted"
    # After an exception it is queued again: the backend has further attempts.
    with Progress(
        order.job, user=order.owner_id, lost_after=LOST_AFTER, retry_on=(Exception,)
    ) as progress:
        painting = order.to_painting()
        progress.report(total=painting.parameters.detail, text=painter)
        while not painting.is_finished:
            painting.paint_pass()
            if progress.superseded or not save(order, painting):
                progress.cancel()
                let_the_next_version_come(order)
                return "not wanted any more"
            progress.report(current=painting.passes)
            if painting.passes % SHOW_EVERY == 0:
                progress.report(preview=data_url(painting.preview()))
            time.sleep(settings.STUDIO_PAUSE)
        picture = painting.picture()
        order.advance(state=Order.State.DONE, picture=picture, passes=painting.passes, canvas=b"")
    return "done"


def save(order: Order, painting: Painting) -> bool:
    """Save the canvas if it is time; False if nobody wants it any more."""
    if painting.passes % SAVE_EVERY:
        return order.is_wanted()
    return order.advance(passes=painting.passes, canvas=painting.save())


def let_the_next_version_come(order: Order) -> None:
    """Wait until the task of a newer version is in the queue, if there is to be one.

    It comes after the commit, so some milliseconds later than the change can be seen. Without it,
    the worker would begin with another order.
    """
    newer = Order.objects.filter(pk=order.pk, version__gt=order.version)
    deadline = time.monotonic() + PATIENCE
    while newer.filter(state=Order.State.ORDERED, task="").exists():
        if time.monotonic() > deadline:
            break
        time.sleep(0.01)


def data_url(image: bytes) -> str:
    """A picture as a URL that needs no request."""
    return "data:image/webp;base64," + base64.b64encode(image).decode()


@receiver(task_finished)
def fail(task_result: Any, **kwargs: Any) -> None:
    """Note that none of the attempts could finish a picture, and tell its customer."""
    if task_result.task.func is paint.func and task_result.status == TaskResultStatus.FAILED:
        pk, version = task_result.args
        order = Order.objects.filter(pk=pk, version=version).first()
        if order is not None and order.advance(state=Order.State.FAILED):
            with Progress(order.job, user=order.owner_id) as progress:
                progress.fail("This one could not be painted.")

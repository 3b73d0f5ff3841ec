"""What customers do with orders: each changes the database, and tells painters and pages."""

import logging
from dataclasses import asdict
from functools import partial
from typing import Any

from channels.contrib.progress import Progress, announce
from channels.exceptions import ChannelsError
from django.contrib.auth import get_user_model
from django.db import transaction
from django.db.models import F

from .models import Order
from .painting import Parameters
from .tasks import TaskResultDoesNotExist, paint

logger = logging.getLogger(__name__)

#: Orders of one customer that may be unfinished at a time, and that are kept.
MOST_UNFINISHED, MOST_KEPT = 4, 9

# A picture that somebody changes is painted before those that wait for their first painter.
FIRST, CHANGED = -10, 10


class TooMany(Exception):
    """The customer has as many unfinished orders as one may have."""


@transaction.atomic
def place(owner: Any, parameters: Parameters) -> Order:
    """Order a new picture. The customer's oldest orders make room for it.

    Raises:
        TooMany: others have to be finished first.
    """
    _require_room(owner)
    order = Order.objects.create(owner=owner, parameters=asdict(parameters))
    surplus = owner.orders.values_list("pk", flat=True)[MOST_KEPT:]
    owner.orders.filter(pk__in=list(surplus)).delete()
    transaction.on_commit(partial(send_to_painters, order, FIRST))
    return order


@transaction.atomic
def change(owner: Any, pk: int, parameters: Parameters) -> Order:
    """Order another picture instead of this one, also while it is painted.

    Raises:
        Order.DoesNotExist: the customer has no such order.
        TooMany: others have to be finished first.
    """
    _require_room(owner, besides=pk)
    order = owner.orders.get(pk=pk)
    if order.parameters == asdict(parameters) and order.state != Order.State.FAILED:
        return order
    order.parameters, order.state = asdict(parameters), Order.State.ORDERED
    order.version += 1
    order.passes, order.canvas, order.painter, order.task = 0, b"", "", ""
    order.save()
    transaction.on_commit(partial(send_to_painters, order, CHANGED))
    return order


@transaction.atomic
def cancel(owner: Any, pk: int) -> Order:
    """Stop the work on a picture. What is saved of it stays.

    Raises:
        Order.DoesNotExist: the customer has no such order.
    """
    order = owner.orders.get(pk=pk)
    if order.advance(state=Order.State.CANCELLED):
        transaction.on_commit(lambda: Progress(order.job, user=owner).cancel())
    return order


@transaction.atomic
def resume(owner: Any, pk: int) -> Order:
    """Go on with a picture that was cancelled or has failed, from what is saved of it.

    Raises:
        Order.DoesNotExist: the customer has no such order.
        TooMany: others have to be finished first.
    """
    _require_room(owner, besides=pk)
    stopped = owner.orders.filter(pk=pk, state__in=[Order.State.CANCELLED, Order.State.FAILED])
    resumed = stopped.update(state=Order.State.ORDERED, version=F("version") + 1, task="")
    order = owner.orders.get(pk=pk)
    if resumed:
        transaction.on_commit(partial(send_to_painters, order, CHANGED))
    return order


def _require_room(owner: Any, besides: int | None = None) -> None:
    # Two windows of one customer wait here for each other.
    get_user_model().objects.select_for_update().get(pk=owner.pk)
    others = owner.orders.filter(state__in=Order.UNFINISHED).exclude(pk=besides)
    if others.count() >= MOST_UNFINISHED:
        raise TooMany


def send_to_painters(order: Order, priority: int) -> None:
    """Enqueue the task that paints this version, and tell all pages of the customer."""
    try:
        announce(order.job, user=order.owner_id, title=order.title)
        task = paint.using(priority=priority).enqueue(order.pk, order.version)
    except ChannelsError:  # of the broker, or a full queue
        logger.exception("Order %s cannot be sent to painters", order.pk)
        if order.advance(state=Order.State.FAILED):
            Progress(order.job, user=order.owner_id).fail()
    else:
        Order.objects.filter(pk=order.pk, version=order.version).update(task=task.id)


def send_what_is_lost() -> int:
    """Enqueue unfinished orders whose tasks are gone: with the memory of a server, or a broker.

    Returns:
        How many there were.
    """
    unfinished = Order.objects.filter(state__in=Order.UNFINISHED)
    try:
        lost = [order for order in unfinished if _is_lost(order)]
    except ChannelsError:
        logger.exception("It is not known which orders have no task, as the broker does not answer")
        return 0
    for order in lost:
        send_to_painters(order, FIRST)
    return len(lost)


def _is_lost(order: Order) -> bool:
    try:
        return not order.task or paint.get_result(order.task).is_finished
    except TaskResultDoesNotExist:
        return True

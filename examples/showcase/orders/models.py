"""Orders, and how they move on."""

from collections.abc import Iterable
from typing import Any

from channels.layers import group_send_on_commit
from django.conf import settings
from django.db import models, transaction
from django.db.models import F
from django.utils import timezone

#: The group of those who watch the orders of all customers.
STAFF = "orders.staff"


def group_of(customer_pk: int) -> str:
    """The group of those who watch the orders of a customer: the customer's own tabs."""
    return f"orders.customer.{customer_pk}"


class Item(models.TextChoices):
    """What the shop has."""

    BEANS = "beans", "Coffee beans, 1 kg"
    KETTLE = "kettle", "Kettle"
    MUG = "mug", "Mug with a handle"
    TEAPOT = "teapot", "Teapot"


class Status(models.TextChoices):
    """Where an order is on its way."""

    PLACED = "placed", "Placed"
    PAID = "paid", "Paid"
    PACKED = "packed", "Packed"
    SHIPPED = "shipped", "Shipped"
    DELIVERED = "delivered", "Delivered"
    CANCELLED = "cancelled", "Cancelled"


#: To which status, and from which.
Moves = dict[Status, Iterable[Status]]

CUSTOMERS_MOVES: Moves = {
    Status.PAID: [Status.PLACED],
    Status.CANCELLED: [Status.PLACED, Status.PAID],
}
STAFFS_MOVES: Moves = {
    Status.PACKED: [Status.PAID],
    Status.SHIPPED: [Status.PACKED],
    Status.DELIVERED: [Status.SHIPPED],
    Status.CANCELLED: [Status.PLACED, Status.PAID, Status.PACKED],
}


class NotPossible(Exception):
    """The order is not where it could move to that status."""


class Order(models.Model):
    """What somebody has ordered."""

    customer = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="orders")
    item = models.CharField(max_length=20, choices=Item)
    status = models.CharField(max_length=20, choices=Status, default=Status.PLACED, editable=False)
    #: Grows with each change, so that a page knows which of two states is the later one.
    version = models.PositiveIntegerField(default=1, editable=False)
    changed_at = models.DateTimeField(default=timezone.now, editable=False)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"Order {self.pk}: {self.get_item_display()}, {self.get_status_display()}"

    def move(self, status: Status, moves: Moves) -> None:
        """Move on to ``status``, if one of ``moves`` leads there, and tell all who watch.

        The database decides: of two people who do it at the same moment, one succeeds.

        Raises:
            NotPossible: no move leads there from where the order is by now.
        """
        with transaction.atomic():
            moved = Order.objects.filter(pk=self.pk, status__in=moves.get(status, ())).update(
                status=status, version=F("version") + 1, changed_at=timezone.now()
            )
            self.refresh_from_db()
            if not moved:
                now = self.get_status_display().lower()
                raise NotPossible(f"Order {self.pk} is {now}, so this is not possible.")
            self.announce()

    def announce(self) -> None:
        """Tell all who watch this order, once it is committed."""
        message = {"type": "order.changed", "order": self.as_dict()}
        for group in (group_of(self.customer_id), STAFF):
            group_send_on_commit(group, message)

    def as_dict(self) -> dict[str, Any]:
        """What pages show of it."""
        return {
            "id": self.pk,
            "customer": self.customer.get_username(),
            "item": self.get_item_display(),
            "status": self.status,
            "status_name": self.get_status_display(),
            "version": self.version,
            "changed_at": self.changed_at.isoformat(),
        }


def moves_from(status: str, moves: Moves) -> list[str]:
    """Where an order with this status may move to."""
    return [target.value for target, sources in moves.items() if status in sources]

"""Orders. The database alone knows what is ordered, and how much of it is saved."""

from typing import Any

from django.conf import settings
from django.db import models
from django.urls import reverse

from .painting import Painting, Parameters


class Order(models.Model):
    """One picture. Each change makes a new version, and work on older ones void.

    Attributes:
        parameters: the fields of :class:`~studio.painting.Parameters`.
        passes: how many of them are in ``canvas``, from which any worker can go on.
        picture: the last one that was finished.
        painter: the worker that has begun with it last.
        task: the ID of the task that is to paint it.
    """

    class State(models.TextChoices):
        ORDERED = "ordered"
        PAINTING = "painting"
        DONE = "done"
        CANCELLED = "cancelled"
        FAILED = "failed"

    UNFINISHED = (State.ORDERED, State.PAINTING)

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="orders")
    parameters = models.JSONField()
    version = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State, default=State.ORDERED)
    passes = models.PositiveIntegerField(default=0)
    canvas = models.BinaryField(default=bytes)
    picture = models.BinaryField(default=bytes)
    painter = models.CharField(max_length=100, blank=True)
    task = models.CharField(max_length=100, blank=True)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"Order {self.pk}, {self.state}"

    @property
    def title(self) -> str:
        """What people call it."""
        return f"{self.parameters.get('flow')} in {self.parameters.get('palette')}"

    @property
    def job(self) -> str:
        """The name under which the progress of this version is reported; pages take it apart."""
        return f"order-{self.pk}.{self.version}"

    def advance(self, **fields: Any) -> bool:
        """Save how far this version is; False if nobody wants it any more.

        Once that is the case, it stays so.
        """
        if not self._wanted().update(**fields):
            return False
        for name, value in fields.items():
            setattr(self, name, value)
        return True

    def is_wanted(self) -> bool:
        """Whether this version is to be painted still."""
        return self._wanted().exists()

    def _wanted(self) -> "models.QuerySet[Order]":
        return Order.objects.filter(pk=self.pk, version=self.version, state__in=self.UNFINISHED)

    def to_painting(self) -> Painting:
        """The painting, as it was saved.

        Raises:
            TypeError, KeyError: an older version of this project took the order.
        """
        return Painting(Parameters(**self.parameters), bytes(self.canvas), self.passes)

    def as_dict(self) -> dict[str, Any]:
        """What a page shows of it."""
        picture = reverse("picture", args=[self.pk]) + f"?version={self.version}"
        return {
            "id": self.pk,
            "version": self.version,
            "title": self.title,
            "parameters": self.parameters,
            "state": str(self.state),
            "passes": self.passes,
            "painter": self.painter,
            "picture": picture if self.state == self.State.DONE else None,
        }

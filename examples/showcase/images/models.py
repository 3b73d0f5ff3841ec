"""Pictures that people have ordered. The database alone knows how far each of them is."""

import base64
from dataclasses import asdict
from typing import Any, Self

from django.conf import settings
from django.contrib.auth import get_user_model
from django.db import models, transaction

from .painting import Parameters

#: Pictures of one person that may be unfinished at a time, and that are kept.
MOST_UNFINISHED, MOST_KEPT = 2, 6


class TooMany(Exception):
    """The person has as many unfinished pictures as one may have."""


class Job(models.Model):
    """One picture. Each change of its parameters makes a new version, and work on the old void."""

    class State(models.TextChoices):
        WAITING = "waiting"
        PAINTING = "painting"
        DONE = "done"
        CANCELLED = "cancelled"
        FAILED = "failed"

    UNFINISHED = (State.WAITING, State.PAINTING)

    owner = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE, related_name="+")
    parameters = models.JSONField()
    version = models.PositiveIntegerField(default=1)
    state = models.CharField(max_length=10, choices=State, default=State.WAITING)
    percent = models.PositiveSmallIntegerField(default=0)
    image = models.BinaryField(default=bytes)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"Picture {self.pk}, {self.state}"

    @classmethod
    @transaction.atomic
    def order(cls, owner: Any, parameters: Parameters, pk: int | None = None) -> Self | None:
        """Order a picture, or a new version of one; None if it is not there.

        Raises:
            TooMany: others have to be finished first.
        """
        # Two windows of one person wait here for each other.
        get_user_model().objects.select_for_update().get(pk=owner.pk)
        own = cls.objects.filter(owner=owner)
        others = own.filter(state__in=cls.UNFINISHED).exclude(pk=pk)
        if others.count() >= MOST_UNFINISHED:
            raise TooMany
        if pk is None:
            job = cls.objects.create(owner=owner, parameters=asdict(parameters))
            surplus = own.values_list("pk", flat=True)[MOST_KEPT:]
            cls.objects.filter(pk__in=list(surplus)).delete()
            return job
        job = own.filter(pk=pk).first()
        if job is not None:
            job.parameters, job.state, job.percent = asdict(parameters), cls.State.WAITING, 0
            job.version += 1
            job.save(update_fields=["parameters", "state", "percent", "version"])
        return job

    async def advance(self, **fields: Any) -> bool:
        """Save how far this version is; False if it is not wanted any more."""
        wanted = Job.objects.filter(pk=self.pk, version=self.version, state__in=self.UNFINISHED)
        for name, value in fields.items():
            setattr(self, name, value)
        return await wanted.aupdate(**fields) == 1

    def as_event(self) -> dict[str, Any]:
        """What a page needs to show this picture."""
        image = base64.b64encode(self.image).decode()
        return {
            "type": "job",
            "id": self.pk,
            "version": self.version,
            "parameters": self.parameters,
            "state": self.state,
            "percent": self.percent,
            "image": f"data:image/webp;base64,{image}" if image else None,
        }

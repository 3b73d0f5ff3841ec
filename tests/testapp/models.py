"""A user model as bare as Django allows: no password, no session hash, a UUID for a key."""

import uuid
from typing import ClassVar

from django.db import models

__all__ = ["Member"]


class MemberManager(models.Manager):
    def get_by_natural_key(self, name):
        return self.get(name=name)


class Member(models.Model):
    id = models.UUIDField(primary_key=True, default=uuid.uuid4)
    name = models.CharField(max_length=50, unique=True)

    objects = MemberManager()

    USERNAME_FIELD = "name"
    REQUIRED_FIELDS: ClassVar = []
    is_anonymous = False
    is_authenticated = True
    is_active = True

    def __str__(self):
        return self.name

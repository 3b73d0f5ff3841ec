"""Rooms, what was said in them, and who has read how far."""

import uuid
from typing import Any

from django.conf import settings
from django.db import models

HISTORY_LENGTH = 50
TEXT_LENGTH = 500


class Room(models.Model):
    """A place to talk."""

    name = models.CharField(max_length=40, unique=True)

    class Meta:
        ordering = ("name",)

    def __str__(self) -> str:
        return self.name

    async def history(self) -> list["Message"]:
        """The last messages, oldest first."""
        newest_first = self.messages.select_related("author").order_by("-pk")[:HISTORY_LENGTH]
        return [message async for message in newest_first][::-1]

    async def read_marks(self) -> dict[str, int]:
        """The last message that each person has read, by the person's name."""
        marks = self.readmark_set.select_related("person")
        return {mark.person.get_username(): mark.message_pk async for mark in marks}

    async def mark_read(self, person: Any, message_pk: int) -> bool:
        """Note that ``person`` has read up to a message, and return whether that is news.

        A mark never moves back, in whatever order the windows of a person report.
        """
        if not await self.messages.filter(pk=message_pk).aexists():
            return False
        marks = self.readmark_set
        mark, created = await marks.aget_or_create(
            person=person, defaults={"message_pk": message_pk}
        )
        later = marks.filter(pk=mark.pk, message_pk__lt=message_pk)
        return created or await later.aupdate(message_pk=message_pk) == 1


class Message(models.Model):
    """Something that somebody said in a room."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    # The page makes it. When it sends a message again, because it does not know whether the
    # first attempt has arrived, the message is still there only once.
    key = models.UUIDField(default=uuid.uuid4)
    text = models.TextField(max_length=TEXT_LENGTH)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)
        constraints = [
            models.UniqueConstraint(fields=("room", "author", "key"), name="said_once"),
        ]

    def __str__(self) -> str:
        return f"{self.author}: {self.text}"

    def as_event(self) -> dict[str, Any]:
        """What a browser needs to show this message."""
        return {
            "type": "message",
            "id": self.pk,
            "key": self.key.hex,
            "author": self.author.get_username(),
            "text": self.text,
            "sent_at": self.sent_at.isoformat(),
        }


class ReadMark(models.Model):
    """The last message of a room that a person has read."""

    room = models.ForeignKey(Room, models.CASCADE)
    person = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    # No foreign key: the mark stays where it is when the message is deleted.
    message_pk = models.PositiveBigIntegerField()

    class Meta:
        constraints = [
            models.UniqueConstraint(fields=("room", "person"), name="one_mark_per_person"),
        ]

    def __str__(self) -> str:
        return f"{self.person} has read {self.room} up to {self.message_pk}"

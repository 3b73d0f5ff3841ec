"""Rooms and what was said in them."""

from typing import Any

from django.conf import settings
from django.db import models

HISTORY_LENGTH = 50


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


class Message(models.Model):
    """Something that somebody said in a room."""

    room = models.ForeignKey(Room, models.CASCADE, related_name="messages")
    author = models.ForeignKey(settings.AUTH_USER_MODEL, models.CASCADE)
    text = models.TextField(max_length=500)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("pk",)

    def __str__(self) -> str:
        return f"{self.author}: {self.text}"

    def as_event(self) -> dict[str, Any]:
        """What a browser needs to show this message."""
        return {
            "type": "message",
            "id": self.pk,
            "author": self.author.get_username(),
            "text": self.text,
            "sent_at": self.sent_at.isoformat(),
        }

"""What people are told."""

from typing import Any

from django.conf import settings
from django.db import models


class Notification(models.Model):
    """Something that one person is told. Whatever saves one, the person's pages show it at once."""

    person = models.ForeignKey(
        settings.AUTH_USER_MODEL, models.CASCADE, related_name="notifications"
    )
    text = models.CharField(max_length=200)
    is_read = models.BooleanField("read", default=False)
    sent_at = models.DateTimeField(auto_now_add=True)

    class Meta:
        ordering = ("-pk",)

    def __str__(self) -> str:
        return f"To {self.person}: {self.text}"

    def as_event(self) -> dict[str, Any]:
        """What a browser needs to show this notification."""
        return {"id": self.pk, "text": self.text, "sent_at": self.sent_at.isoformat()}

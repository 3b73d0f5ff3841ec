"""Notifications in Django's admin, which knows nothing of streams."""

from django.contrib import admin

from .models import Notification


@admin.register(Notification)
class NotificationAdmin(admin.ModelAdmin):
    """Write one here, and look at the person's page."""

    list_display = ("text", "person", "is_read", "sent_at")
    list_filter = ("person", "is_read")

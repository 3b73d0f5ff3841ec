"""What the index of the showcase tells about this app."""

from django.apps import AppConfig


class ChatConfig(AppConfig):
    """Chat."""

    name = "chat"
    verbose_name = "Chat"
    summary = "Rooms, who is typing, and who has read what."
    index = "rooms"

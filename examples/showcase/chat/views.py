"""The pages: choose or open a room, and the room itself."""

from typing import Any

from django.contrib.auth.mixins import LoginRequiredMixin
from django.db.models import Count, Max
from django.urls import reverse
from django.views.generic import CreateView, DetailView

from .forms import RoomForm
from .models import TEXT_LENGTH, Room


class Rooms(LoginRequiredMixin, CreateView):
    """All rooms, and a form that opens another one."""

    template_name = "chat/rooms.html"
    form_class = RoomForm

    def get_success_url(self) -> str:
        return reverse("room", args=[self.object.pk])

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        rooms = Room.objects.annotate(count=Count("messages"), latest=Max("messages__sent_at"))
        return super().get_context_data(rooms=rooms.order_by("name"), **kwargs)


class RoomPage(LoginRequiredMixin, DetailView):
    """One room. Everything that moves in it comes through the WebSocket."""

    template_name = "chat/room.html"
    model = Room

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        return super().get_context_data(rooms=Room.objects.all(), max_length=TEXT_LENGTH, **kwargs)

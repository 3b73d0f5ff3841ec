"""The pages: sign in, choose or open a room, and the room itself."""

from typing import Any

from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.mixins import LoginRequiredMixin
from django.contrib.auth.views import LoginView
from django.db.models import Count, Max
from django.http import HttpResponse
from django.urls import reverse, reverse_lazy
from django.views.generic import CreateView, DetailView

from .forms import MessageForm, RoomForm
from .models import Room


class SignIn(LoginView):
    """Name and password, or one click for a demo account."""

    template_name = "chat/sign_in.html"
    redirect_authenticated_user = True
    extra_context = {"demo_accounts": settings.DEMO_ACCOUNTS}


class SignUp(CreateView):
    """Opens an account, which needs no e-mail address, and signs in."""

    template_name = "chat/sign_up.html"
    form_class = UserCreationForm
    success_url = reverse_lazy("rooms")

    def form_valid(self, form: UserCreationForm) -> HttpResponse:
        response = super().form_valid(form)
        login(self.request, self.object)
        return response


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
        return super().get_context_data(rooms=Room.objects.all(), form=MessageForm(), **kwargs)

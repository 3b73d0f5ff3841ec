"""The page."""

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView


class GamePage(LoginRequiredMixin, TemplateView):
    """The game. Everything that moves in it comes through the WebSocket."""

    template_name = "game/game.html"

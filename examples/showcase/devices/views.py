"""The page. All that moves in it comes through the WebSocket."""

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView


class DevicesPage(LoginRequiredMixin, TemplateView):
    """The devices."""

    template_name = "devices/devices.html"

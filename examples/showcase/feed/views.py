"""The page. All that moves in it comes through the WebSocket."""

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView


class FeedPage(LoginRequiredMixin, TemplateView):
    """The chart."""

    template_name = "feed/feed.html"

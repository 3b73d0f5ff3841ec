"""The page. All that moves in it comes through the WebSocket."""

from django.contrib.auth.mixins import LoginRequiredMixin
from django.views.generic import TemplateView

from .forms import ParametersForm
from .painting import HEIGHT, WIDTH


class ImagesPage(LoginRequiredMixin, TemplateView):
    """Somebody's pictures, and what they are made from."""

    template_name = "images/images.html"
    extra_context = {"form": ParametersForm(label_suffix=""), "width": WIDTH, "height": HEIGHT}

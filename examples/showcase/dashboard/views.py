"""The page. All that moves in it comes through the WebSocket."""

from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.views.generic import TemplateView


class DashboardPage(LoginRequiredMixin, TemplateView):
    """The numbers, for staff. To others it says so."""

    template_name = "dashboard/dashboard.html"

    def get(self, request: HttpRequest, *args: object, **kwargs: object) -> HttpResponse:
        status = 200 if request.user.is_staff else 403
        return self.render_to_response(self.get_context_data(**kwargs), status=status)

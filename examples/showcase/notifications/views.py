"""The page, and what its buttons do. None of them sends anything: they save, that is all."""

from typing import Any

from django.contrib.auth.decorators import login_required
from django.contrib.auth.mixins import LoginRequiredMixin
from django.http import HttpRequest, HttpResponse
from django.views.decorators.http import require_POST
from django.views.generic import TemplateView

from .forms import NotificationForm
from .signals import tell_changed

NO_CONTENT = 204


class Notifications(LoginRequiredMixin, TemplateView):
    """What I was told, which comes through the stream, and a form to tell others something."""

    template_name = "notifications/notifications.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        initial = {"text": "Your table is ready."}
        form = NotificationForm(self.request.user, initial=initial, label_suffix="")
        return super().get_context_data(form=form, **kwargs)


@login_required
@require_POST
def send(request: HttpRequest) -> HttpResponse:
    """Tell somebody something."""
    form = NotificationForm(request.user, request.POST)
    if not form.is_valid():
        reason = next(iter(form.errors.values()))[0]
        return HttpResponse(reason, status=400, content_type="text/plain")
    form.save()
    return HttpResponse(status=NO_CONTENT)


@login_required
@require_POST
def read(request: HttpRequest, pk: int | None = None) -> HttpResponse:
    """Mark one as read, or all."""
    unread = request.user.notifications.filter(is_read=False)
    if pk is not None:
        unread = unread.filter(pk=pk)
    if unread.update(is_read=True):
        tell_changed(request.user.pk)
    return HttpResponse(status=NO_CONTENT)

"""The index of the apps, and accounts."""

from typing import Any

from django.apps import apps
from django.conf import settings
from django.contrib.auth import login
from django.contrib.auth.forms import UserCreationForm
from django.contrib.auth.views import LoginView
from django.http import HttpResponse
from django.urls import reverse_lazy
from django.views.generic import CreateView, TemplateView


class Index(TemplateView):
    """All uses, one card each. An app is listed if its ``AppConfig`` names its first page."""

    template_name = "showcase/index.html"

    def get_context_data(self, **kwargs: Any) -> dict[str, Any]:
        uses = [app for app in apps.get_app_configs() if hasattr(app, "index")]
        return super().get_context_data(uses=uses, **kwargs)


class SignIn(LoginView):
    """Name and password, or one click for a demo account."""

    template_name = "showcase/sign_in.html"
    redirect_authenticated_user = True
    extra_context = {"demo_accounts": settings.DEMO_ACCOUNTS}


class SignUp(CreateView):
    """Opens an account, which needs no e-mail address, and signs in."""

    template_name = "showcase/sign_up.html"
    form_class = UserCreationForm
    success_url = reverse_lazy("index")

    def form_valid(self, form: UserCreationForm) -> HttpResponse:
        response = super().form_valid(form)
        login(self.request, self.object)
        return response

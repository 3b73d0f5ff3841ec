"""The page's place in the admin."""

from typing import Any

import django
from django.contrib import admin
from django.core.exceptions import PermissionDenied
from django.http import HttpRequest, HttpResponse
from django.template.response import TemplateResponse
from django.urls import URLPattern, get_script_prefix, path
from django.utils.text import capfirst

from ...live import reaches_others
from .models import LiveConnection
from .rights import DISCONNECT, admit
from .routing import live_path

__all__ = ["LiveConnectionAdmin"]

# Whether Django's admin has its breadcrumbs in a list.
_LISTED = django.VERSION >= (6, 1)


@admin.register(LiveConnection)
class LiveConnectionAdmin(admin.ModelAdmin):  # type: ignore[type-arg]  # in the stubs only
    """Shows the live page where other models have their list.

    Another admin site than the default one gets it as it gets any model:
    ``site.register(LiveConnection, LiveConnectionAdmin)``.
    """

    live_template = "channels_admin/live.html"

    def get_urls(self) -> list[URLPattern]:
        """The page alone: nothing can be added, changed or deleted."""
        options = self.opts
        name = f"{options.app_label}_{options.model_name}_changelist"
        return [path("", self.admin_site.admin_view(self.changelist_view), name=name)]

    def has_add_permission(self, request: HttpRequest) -> bool:
        """Nobody adds connections."""
        return False

    def has_change_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Nobody changes connections."""
        return False

    def has_delete_permission(self, request: HttpRequest, obj: Any = None) -> bool:
        """Connections are disconnected, which has a permission of its own."""
        return False

    def has_disconnect_permission(self, request: HttpRequest) -> bool:
        """Whether the page has buttons to disconnect."""
        user: Any = request.user
        return bool(user.has_perm(DISCONNECT))

    def changelist_view(
        self, request: HttpRequest, extra_context: dict[str, Any] | None = None
    ) -> HttpResponse:
        """The page, as yet without figures: these come over its WebSocket."""
        if not self.has_view_permission(request):
            raise PermissionDenied
        may_disconnect = self.has_disconnect_permission(request)
        context = {
            **self.admin_site.each_context(request),
            "title": capfirst(str(self.opts.verbose_name_plural)),
            "opts": self.opts,
            "media": self.media,
            "breadcrumbs_are_list": _LISTED,
            "live_url": get_script_prefix() + live_path(),
            "live_page": admit(request.user, disconnect=may_disconnect),
            "may_disconnect": may_disconnect,
            "reaches_others": reaches_others(),
            **(extra_context or {}),
        }
        request.current_app = self.admin_site.name
        return TemplateResponse(request, self.live_template, context)

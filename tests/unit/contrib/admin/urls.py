"""An admin with the live page, and another one that asks for more than a session."""

from django.contrib import admin
from django.urls import path

from channels.contrib.admin.admin import LiveConnectionAdmin
from channels.contrib.admin.models import LiveConnection


class StrictSite(admin.AdminSite):
    def has_permission(self, request):
        return super().has_permission(request) and "second-factor" in request.COOKIES


strict = StrictSite(name="strict")
strict.register(LiveConnection, LiveConnectionAdmin)

# Apps that tests install are not there yet when Django looks for their admins.
if not admin.site.is_registered(LiveConnection):
    admin.site.register(LiveConnection, LiveConnectionAdmin)

urlpatterns = [path("admin/", admin.site.urls), path("strict/", strict.urls)]

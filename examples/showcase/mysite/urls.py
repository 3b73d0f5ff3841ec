"""Pages. The URLs of WebSockets are in the apps' routing.py."""

from django.contrib import admin
from django.urls import include, path

urlpatterns = [
    path("", include("showcase.urls")),
    path("admin/", admin.site.urls),
    path("chat/", include("chat.urls")),
    path("notifications/", include("notifications.urls")),
    path("editor/", include("editor.urls")),
    path("game/", include("game.urls")),
    path("feed/", include("feed.urls")),
    path("orders/", include("orders.urls")),
    path("images/", include("images.urls")),
    path("dashboard/", include("dashboard.urls")),
    path("devices/", include("devices.urls")),
]

"""Pages. The WebSocket's URL is in chat/routing.py."""

from django.urls import include, path

urlpatterns = [path("", include("chat.urls"))]

"""Pages. The URL of the WebSocket is in asgi.py."""

from django.urls import include, path

urlpatterns = [path("", include("studio.urls"))]

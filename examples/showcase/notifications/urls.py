"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.Notifications.as_view(), name="notifications"),
    path("send/", views.send, name="send-notification"),
    path("read/", views.read, name="read-all"),
    path("read/<int:pk>/", views.read, name="read-one"),
]

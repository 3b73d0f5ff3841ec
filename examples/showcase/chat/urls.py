"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.Rooms.as_view(), name="rooms"),
    path("<int:pk>/", views.RoomPage.as_view(), name="room"),
]

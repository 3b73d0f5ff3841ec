"""Which view serves which page."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.Rooms.as_view(), name="rooms"),
    path("rooms/<int:pk>/", views.RoomPage.as_view(), name="room"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-up/", views.SignUp.as_view(), name="sign-up"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
]

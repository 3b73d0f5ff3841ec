"""The index, and accounts."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.Index.as_view(), name="index"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-up/", views.SignUp.as_view(), name="sign-up"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
]

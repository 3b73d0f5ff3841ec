from django.urls import path

from channels.contrib.health import ready

from . import views

urlpatterns = [
    path("ready/", ready),
    path("state/", views.state),
    path("login/", views.sign_in),
    path("logout/", views.sign_out),
    path("news/", views.news),
    path("open/<key>/", views.open_gate),
]

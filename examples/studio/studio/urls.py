"""Pages, and what they call."""

from django.contrib.auth.views import LogoutView
from django.urls import path

from . import views

urlpatterns = [
    path("", views.studio, name="studio"),
    path("sign-in/", views.SignIn.as_view(), name="sign-in"),
    path("sign-out/", LogoutView.as_view(), name="sign-out"),
    path("orders/", views.order_list, name="orders"),
    path("orders/<int:pk>/", views.change, name="change"),
    path("orders/<int:pk>/cancel/", views.cancel, name="cancel"),
    path("orders/<int:pk>/resume/", views.resume, name="resume"),
    path("orders/<int:pk>/picture/", views.picture, name="picture"),
]

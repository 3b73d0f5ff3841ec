"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [path("", views.DashboardPage.as_view(), name="dashboard")]

"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [path("", views.DevicesPage.as_view(), name="devices")]

"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [path("", views.ImagesPage.as_view(), name="images")]

"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [path("", views.FeedPage.as_view(), name="feed")]

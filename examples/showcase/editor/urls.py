"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.Documents.as_view(), name="editor"),
    path("<int:pk>/", views.DocumentPage.as_view(), name="document"),
]

"""Which view serves which page."""

from django.urls import path

from . import views

urlpatterns = [
    path("", views.OwnOrders.as_view(), name="orders"),
    path("<int:pk>/", views.MoveOwn.as_view(), name="move-own-order"),
    path("all/", views.AllOrders.as_view(), name="all-orders"),
    path("all/<int:pk>/", views.MoveAny.as_view(), name="move-order"),
]

"""Which consumer serves which URL."""

from django.urls import path

from .consumers import AllOrdersConsumer, OwnOrdersConsumer

websocket_urlpatterns = [
    path("ws/orders/", OwnOrdersConsumer.as_asgi(), name="own-orders-socket"),
    path("ws/orders/all/", AllOrdersConsumer.as_asgi(), name="all-orders-socket"),
]

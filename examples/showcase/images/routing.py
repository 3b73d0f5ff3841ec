"""Which consumer serves which URL."""

from django.urls import path

from .consumers import ImagesConsumer

websocket_urlpatterns = [path("ws/images/", ImagesConsumer.as_asgi(), name="images-socket")]

"""A Django site whose sync and async views send to the channel layer."""

import os

import django
from asgiref.sync import async_to_sync
from django.conf import settings
from django.http import HttpResponse
from django.urls import path

from channels.layers import get_channel_layer, get_sync_channel_layer

from .callers import QUEUE, configure, message


def by_async_to_sync(request, sender, number):
    async_to_sync(get_channel_layer().send)(QUEUE, message(sender, number))
    return HttpResponse("sent")


def by_facade(request, sender, number):
    get_sync_channel_layer().send(QUEUE, message(sender, number))
    return HttpResponse("sent")


async def by_await(request, sender, number):
    await get_channel_layer().send(QUEUE, message(sender, number))
    return HttpResponse("sent")


urlpatterns = [
    path("async_to_sync/<sender>/<int:number>", by_async_to_sync),
    path("facade/<sender>/<int:number>", by_facade),
    path("await/<sender>/<int:number>", by_await),
]


def make_application():
    """For an ASGI server started with ``--factory``; the broker's port is in the environment."""
    if not settings.configured:
        configure(os.environ["BROKER_PORT"])
    settings.ROOT_URLCONF = __name__
    settings.ALLOWED_HOSTS = ["*"]
    django.setup(set_prefix=False)
    from django.core.asgi import get_asgi_application

    return get_asgi_application()

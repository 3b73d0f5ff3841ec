"""A site with the toolbar, whose views call channel layers in every way that there is."""

from asgiref.sync import async_to_sync
from django.http import HttpRequest, HttpResponse
from django.urls import include, path

from channels.exceptions import ChannelFull
from channels.layers import get_channel_layer
from channels.layers.sync import get_sync_channel_layer

MESSAGE = {"type": "chat.message", "text": "<script>alert(1)</script>", "password": "pa55word"}


def bridged(request: HttpRequest) -> HttpResponse:
    get_sync_channel_layer().group_send("lobby", MESSAGE)
    return page()


def converted(request: HttpRequest) -> HttpResponse:
    async_to_sync(get_channel_layer().group_send)("lobby", MESSAGE)
    return page()


async def awaited(request: HttpRequest) -> HttpResponse:
    await get_channel_layer().group_send(group="lobby", message=MESSAGE)
    return page()


async def full(request: HttpRequest) -> HttpResponse:
    layer = get_channel_layer()
    try:
        for _ in range(3):
            await layer.send("tiny", {"type": "x"})
    except ChannelFull:
        return page()
    raise AssertionError


async def many(request: HttpRequest) -> HttpResponse:
    for _ in range(3):
        await get_channel_layer().group_send("lobby", {"type": "x", "text": "a" * 3000})
    return page()


async def none(request: HttpRequest) -> HttpResponse:
    return page()


def page() -> HttpResponse:
    return HttpResponse("<html><body>Sent</body></html>")


urlpatterns = [
    path("__debug__/", include("debug_toolbar.urls")),
    *(path(f"{view.__name__}/", view) for view in (bridged, converted, awaited, full, many, none)),
]

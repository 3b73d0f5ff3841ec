import asyncio
import gc

from django.contrib.auth import authenticate, login, logout
from django.http import HttpRequest, HttpResponse, JsonResponse, StreamingHttpResponse

from channels.consumer import AsyncConsumer
from channels.layers import get_channel_layer
from channels.layers.mailbox import Mailbox
from channels.views import group_event_stream

from .recorder import gates

__all__ = ["news", "open_gate", "sign_in", "sign_out", "state"]


async def state(request: HttpRequest) -> JsonResponse:
    """What is in the process at this moment."""
    gc.collect()
    # Not isinstance(), which would wake Django's lazy objects.
    kinds = [type(thing) for thing in gc.get_objects()]
    layer = get_channel_layer()
    statistics = layer.statistics
    return JsonResponse(
        {
            "groups": {group: len(members) for group, members in layer.groups.items()},
            "channels": len(layer.channels),
            "pending": statistics.pending,
            "lost": statistics.sent
            - statistics.delivered
            - statistics.pending
            - sum(statistics.dropped.values()),
            "tasks": len(asyncio.all_tasks()),
            "consumers": sum(issubclass(kind, AsyncConsumer) for kind in kinds),
            "mailboxes": sum(issubclass(kind, Mailbox) for kind in kinds),
        }
    )


def sign_in(request: HttpRequest) -> HttpResponse:
    user = authenticate(request, username=request.GET["name"], password="secret")
    if user is None:
        return HttpResponse(status=403)
    login(request, user)
    return HttpResponse(user.get_username())


def sign_out(request: HttpRequest) -> HttpResponse:
    logout(request)
    return HttpResponse("bye")


def open_gate(request: HttpRequest, key: str) -> HttpResponse:
    """Let the handler go on that waits in the connection ``key``."""
    gates[key].set()
    return HttpResponse("open")


def news(request: HttpRequest) -> StreamingHttpResponse:
    """What is told to the group ``events``, without a consumer."""
    return group_event_stream(request, "events")

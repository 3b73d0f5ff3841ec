import pytest
from django.test import override_settings
from django.urls import path

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers.base import BaseChannelLayer
from channels.limit_checks import check_limits, check_shared_limits
from channels.routing import URLRouter

MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


class Bare(BaseChannelLayer):
    """Keeps no buckets."""


class Sharing(AsyncWebsocketConsumer):
    client_limits = {"handshakes_per_user": "5/m", "shared": "elsewhere"}


async def foreign(scope, receive, send):
    """No consumer."""


routes = URLRouter([path("a/", Sharing.as_asgi()), path("b/", foreign)])


def test_nothing_is_wrong_without_limits():
    assert check_limits(None) == check_shared_limits(None) == []


@pytest.mark.parametrize(
    "wrong",
    [{"CHANNELS_LIMITS": {"MESSAGES": "5/s"}}, {"CHANNELS_TRUSTED_PROXIES": "10.0.0.0/8"}],
)
def test_settings_that_are_none_are_reported(wrong):
    with override_settings(**wrong):
        (message,) = check_limits(None)
        assert message.id == "channels.E009"
        assert next(iter(wrong)) in message.msg
        assert check_shared_limits(None) == []


@pytest.mark.parametrize(
    ("layer", "said"),
    [
        (MEMORY, None),
        ({"BACKEND": f"{__name__}.Bare"}, "keeps no token buckets"),
        ({"BACKEND": "nowhere.Layer"}, None),
        (None, "which is missing"),
    ],
)
def test_a_layer_that_cannot_share_is_reported(layer, said):
    layers = {} if layer is None else {"default": layer}
    with override_settings(CHANNEL_LAYERS=layers, CHANNELS_LIMITS={"SHARED": "default"}):
        messages = check_shared_limits(None)
    assert [message.id for message in messages] == (["channels.E010"] if said else [])
    assert all("Limits in CHANNELS_LIMITS are shared" in m.msg and said in m.msg for m in messages)


@override_settings(ASGI_APPLICATION=f"{__name__}.routes", CHANNEL_LAYERS={"default": MEMORY})
def test_limits_of_consumers_are_looked_at_too():
    (message,) = check_shared_limits(None)
    assert message.msg.startswith("Limits of Sharing are shared through the channel layer 'elsew")

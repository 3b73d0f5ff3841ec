import pytest
from django.test import override_settings
from django.urls import path

from channels import application_checks
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers.base import BaseChannelLayer
from channels.limit_checks import check_limits, check_shared_limits, check_unlimited
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.limits import LimitMiddleware
from channels.security.permissions import IsAuthenticated

MEMORY = {"BACKEND": "channels.layers.InMemoryChannelLayer"}


class Bare(BaseChannelLayer):
    """Keeps no buckets."""


class Counting(Bare):
    """Keeps buckets, and counts no connections."""

    supports_tokens = True


class Alone(Counting):
    supports_processes = False


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


@pytest.mark.parametrize(
    ("layer", "limits", "said"),
    [
        (Counting, {}, None),
        (Counting, {"CONNECTIONS_PER_USER": None}, None),
        (Counting, {"CONNECTIONS_PER_USER": 5}, "counts no open connections (supports_places)"),
        (Alone, {"CONNECTIONS_PER_USER": 5}, None),
    ],
)
def test_a_layer_that_cannot_count_connections_is_reported_if_they_are_limited(layer, limits, said):
    layers = {"default": {"BACKEND": f"{__name__}.{layer.__name__}"}}
    limits = {"SHARED": "default", **limits}
    with override_settings(CHANNEL_LAYERS=layers, CHANNELS_LIMITS=limits):
        messages = check_shared_limits(None)
    assert [message.id for message in messages] == (["channels.E010"] if said else [])
    assert all(said in message.msg for message in messages)


@override_settings(ASGI_APPLICATION=f"{__name__}.routes", CHANNEL_LAYERS={"default": MEMORY})
def test_limits_of_consumers_are_looked_at_too():
    (message,) = check_shared_limits(None)
    assert message.msg.startswith("Limits of Sharing are shared through the channel layer 'elsew")


class Open(AsyncWebsocketConsumer):
    """Anybody may connect."""


class Members(AsyncWebsocketConsumer):
    permissions = IsAuthenticated()


class Limited(AsyncWebsocketConsumer):
    client_limits = {"messages_per_connection": "5/s"}


class Wrong(AsyncWebsocketConsumer):
    client_limits = {"messages": "5/s"}


@pytest.fixture
def unlimited(monkeypatch):
    def unlimited(application):
        monkeypatch.setattr(application_checks, "project_application", lambda: application)
        return [(message.id, message.msg) for message in check_unlimited(None)]

    return unlimited


def routed(*consumers):
    return URLRouter([path(f"{cls.__qualname__}/", cls.as_asgi()) for cls in consumers])


def test_a_public_route_without_limits_is_reported(unlimited):
    found = unlimited(ProtocolTypeRouter({"websocket": routed(Open, Members, Limited, Open)}))
    assert [name for name, _ in found] == ["channels.W034"]
    assert found[0][1].endswith("everybody may connect: Open.")


def test_limits_in_front_or_of_the_project_are_enough(unlimited):
    application = ProtocolTypeRouter({"websocket": routed(Open)})
    with override_settings(CHANNELS_LIMITS={"MESSAGE_SIZE": 1000}):
        assert unlimited(application) == []
    limited = LimitMiddleware(routed(Open), message_size=1000)
    assert unlimited(ProtocolTypeRouter({"websocket": limited})) == []
    assert unlimited(LimitMiddleware(application, message_size=1000)) == []
    of_requests = LimitMiddleware(routed(Open), message_size=1000, protocols=["http"])
    assert len(unlimited(ProtocolTypeRouter({"websocket": of_requests}))) == 1


def test_a_middleware_around_all_protocols_hides_no_route(unlimited):
    async def middleware(scope, receive, send):
        await application(scope, receive, send)

    application = ProtocolTypeRouter({"websocket": routed(Open)})
    assert [name for name, _ in unlimited(middleware)] == ["channels.W034"]


@pytest.mark.parametrize("application", [None, foreign, ProtocolTypeRouter({"http": foreign})])
def test_without_websockets_no_limits_are_missed(unlimited, application):
    assert unlimited(application) == []


def test_wrong_limits_are_reported_by_another_check(unlimited):
    with override_settings(CHANNELS_LIMITS={"MESSAGES": "5/s"}):
        assert unlimited(ProtocolTypeRouter({"websocket": routed(Open)})) == []


def test_a_huge_application_is_looked_at_in_part(unlimited, monkeypatch):
    monkeypatch.setattr(application_checks, "_APPLICATIONS", 1)
    assert unlimited(ProtocolTypeRouter({"websocket": routed(Open)})) == []

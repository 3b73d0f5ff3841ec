"""The check that tells of permissions which look at a user that nobody finds."""

import functools

import pytest
from django.core import checks
from django.urls import include, path

from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.middleware import BaseMiddleware
from channels.permission_checks import check_permissions
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.permissions import AllowAny, IsAuthenticated, IsStaff, PermissionMiddleware
from channels.security.tokens import SignedTokenVerifier, TokenAuthMiddleware
from channels.security.websocket import AllowedHostsOriginValidator
from channels.sessions import SessionMiddlewareStack

application = None  # each test's


class Guarded(AsyncWebsocketConsumer):
    permissions = IsAuthenticated() & ~IsStaff()


class Public(AsyncWebsocketConsumer):
    permissions = AllowAny


class Listed(AsyncWebsocketConsumer):
    permissions = ["chat.view"]


class Handling(AsyncWebsocketConsumer):
    async def permissions(self, event):
        pass


@pytest.fixture
def check(settings, monkeypatch):
    """The messages about an application."""

    def run(made):
        monkeypatch.setitem(globals(), "application", made)
        settings.ASGI_APPLICATION = f"{__name__}.application"
        return check_permissions(None)

    return run


def routes(*classes):
    return URLRouter([path(f"{number}/", cls.as_asgi()) for number, cls in enumerate(classes)])


class OwnMiddleware(BaseMiddleware):
    """May find a user, for all that can be seen."""


def by_function(inner):
    @functools.wraps(inner)
    async def application(scope, receive, send):
        await inner(scope, receive, send)

    return application


def bare(router):
    return ProtocolTypeRouter({"websocket": AllowedHostsOriginValidator(router)})


def by_token(inner):
    return TokenAuthMiddleware(inner, SignedTokenVerifier())


def test_a_user_that_no_middleware_finds(check):
    (message,) = check(bare(routes(Guarded, Public, Handling)))
    assert isinstance(message, checks.Warning)
    assert message.id == "channels.W030"
    assert message.msg.startswith(f"{__name__}.Guarded.permissions looks at scope['user']")
    assert "AuthMiddlewareStack" in message.hint


def test_sessions_find_no_user(check):
    assert len(check(bare(SessionMiddlewareStack(routes(Guarded, Guarded))))) == 1


@pytest.mark.parametrize("wrap", [AuthMiddlewareStack, by_token, OwnMiddleware, by_function])
def test_something_that_finds_one_or_may(check, wrap):
    assert check(bare(wrap(routes(Guarded)))) == []
    nested = URLRouter([path("a/", include([path("b/", wrap(Guarded.as_asgi()))]))])
    assert check(bare(nested)) == []


def test_permissions_around_routes(check):
    (message,) = check(bare(PermissionMiddleware(routes(Public), IsStaff)))
    assert message.msg.startswith("PermissionMiddleware(IsStaff()) looks at scope['user']")
    assert check(bare(PermissionMiddleware(routes(Public), AllowAny))) == []
    inside = AuthMiddlewareStack(PermissionMiddleware(routes(Public), IsStaff))
    assert check(bare(inside)) == []


def test_what_channels_does_not_read(check):
    (message,) = check(bare(routes(Listed)))
    assert message.id == "channels.W031"
    assert message.msg.startswith(f"{__name__}.Listed.permissions is ['chat.view'], which Channels")


@pytest.mark.parametrize("name", ["permission", "permission_classes"])
@pytest.mark.parametrize("value", [IsAuthenticated, [IsAuthenticated]])
def test_permissions_under_the_name_that_views_give_them(check, name, value):
    consumer = type("Misnamed", (AsyncWebsocketConsumer,), {name: value})
    (message,) = check(bare(routes(consumer)))
    assert message.id == "channels.W031"
    assert f"Misnamed.{name} has permissions, which Channels does not read" in message.msg
    sure = type("Sure", (consumer,), {"permissions": AllowAny})
    assert check(bare(routes(sure))) == []


@pytest.mark.parametrize("value", [None, "chat.view", IsAuthenticated().check, ["chat.view"]])
def test_what_projects_mean_by_that_name_is_theirs(check, value):
    consumer = type("Theirs", (AsyncWebsocketConsumer,), {"permission": value})
    assert check(bare(routes(consumer))) == []


def test_without_an_application(check, settings):
    settings.ASGI_APPLICATION = None
    assert check_permissions(None) == []

"""Which WebSockets other sites can open, as ``check --deploy`` sees it."""

import pytest
from django.urls import path

from channels import application_checks
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.origin_checks import check_origins
from channels.routing import ProtocolTypeRouter, URLRouter
from channels.security.tokens import SignedTokenVerifier, TokenAuthMiddleware
from channels.security.websocket import AllowedHostsOriginValidator, OriginValidator


class Chat(AsyncWebsocketConsumer):
    pass


class News(WebsocketConsumer):
    pass


async def page(scope, receive, send):
    """Answers requests."""


class Middleware:
    """Wraps all protocols, as those of other packages do."""

    def __init__(self, app):
        self.app = app

    async def __call__(self, scope, receive, send):
        await self.app(scope, receive, send)


@pytest.fixture(autouse=True)
def hosts(settings):
    settings.ALLOWED_HOSTS = ["example.com"]


@pytest.fixture
def check(monkeypatch):
    def check(websocket, around=lambda application: application):
        application = around(ProtocolTypeRouter({"websocket": websocket, "http": page}))
        monkeypatch.setattr(application_checks, "project_application", lambda: application)
        return [(message.id, message.msg) for message in check_origins(None)]

    return check


def routes(chat):
    return URLRouter([path("chat/", chat), path("news/", News.as_asgi())])


def test_all_behind_a_validator(check):
    assert check(AllowedHostsOriginValidator(AuthMiddlewareStack(routes(Chat.as_asgi())))) == []


def test_none_behind_one(check):
    found = check(AuthMiddlewareStack(routes(Chat.as_asgi())))
    assert [name for name, _ in found] == ["channels.W032"] * 2
    assert "the WebSockets of Chat" in found[0][1]


@pytest.mark.parametrize(("cookies", "found"), [(False, []), (True, ["channels.W032"] * 2)])
def test_where_only_tokens_tell_who_it_is_none_is_needed(check, cookies, found):
    application = TokenAuthMiddleware(routes(Chat.as_asgi()), SignedTokenVerifier())
    application = AuthMiddlewareStack(application) if cookies else application
    assert [name for name, _ in check(application)] == found


@pytest.mark.parametrize("around", [Middleware, AuthMiddlewareStack])
def test_middleware_around_all_protocols_hides_no_route(check, around):
    application = TokenAuthMiddleware(routes(Chat.as_asgi()), SignedTokenVerifier())
    found = check(application, around)
    assert len(found) == (2 if around is AuthMiddlewareStack else 0)
    assert len(check(routes(Chat.as_asgi()), around)) == 2
    assert check(AllowedHostsOriginValidator(routes(Chat.as_asgi())), around) == []


def test_one_route_behind_one(check):
    found = check(routes(OriginValidator(Chat.as_asgi(), ["https://example.com"])))
    assert ["the WebSockets of News" in text for _, text in found] == [True]


@pytest.mark.parametrize("by_hosts", [True, False])
def test_a_validator_that_lets_everybody_in(check, settings, by_hosts):
    inner = routes(Chat.as_asgi())
    if by_hosts:
        settings.ALLOWED_HOSTS = ["*"]
        application = AllowedHostsOriginValidator(inner)
    else:
        application = OriginValidator(inner, ["*"])
    assert [name for name, _ in check(application)] == ["channels.W033"]


def test_nothing_to_look_at(monkeypatch):
    monkeypatch.setattr(application_checks, "project_application", lambda: None)
    assert check_origins(None) == []
    monkeypatch.setattr(application_checks, "project_application", lambda: ProtocolTypeRouter({}))
    assert check_origins(None) == []


def test_an_application_that_is_very_large_is_not_looked_through(check, monkeypatch):
    monkeypatch.setattr(application_checks, "_APPLICATIONS", 0)
    assert check(routes(Chat.as_asgi())) == []


def test_a_consumer_with_two_routes_is_named_once(check):
    chat = Chat.as_asgi()
    found = check(URLRouter([path("chat/", chat), path("talk/", chat)]))
    assert [name for name, _ in found] == ["channels.W032"]

"""The checks of tickets."""

import pytest
from django.urls import path

from channels import application_checks, token_checks
from channels.auth import AuthMiddlewareStack
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.routing import URLRouter
from channels.security.tokens import SignedTokenVerifier, TicketVerifier, TokenAuthMiddleware
from channels.token_checks import check_nested_tokens, check_ticket_cache, check_tickets

LOCMEM = "django.core.cache.backends.locmem.LocMemCache"
DUMMY = "django.core.cache.backends.dummy.DummyCache"
FILE = "django.core.cache.backends.filebased.FileBasedCache"

consumer = AsyncWebsocketConsumer.as_asgi()


def inside(application, monkeypatch):
    monkeypatch.setattr(token_checks, "project_application", lambda: application)
    routes = application.routes if isinstance(application, URLRouter) else ()
    monkeypatch.setattr(token_checks, "targets", lambda: [route.callback for route in routes])


def test_the_setting_is_read(settings):
    assert check_tickets(None) == []
    settings.CHANNELS_TICKETS = []
    (error,) = check_tickets(None)
    assert (error.id, "must be a dict" in error.msg) == ("channels.E020", True)


@pytest.mark.parametrize(
    ("backend", "found"),
    [(LOCMEM, ["channels.W040"]), (DUMMY, ["channels.W040"]), (FILE, [])],
)
@pytest.mark.parametrize("routed", [True, False])
def test_the_cache_is_looked_at(settings, monkeypatch, tmp_path, backend, found, routed):
    settings.CACHES = {"default": {"BACKEND": backend, "LOCATION": str(tmp_path)}}
    application = TokenAuthMiddleware(consumer, [SignedTokenVerifier(), TicketVerifier()])
    inside(URLRouter([path("", application)]) if routed else application, monkeypatch)
    assert [message.id for message in check_ticket_cache(None)] == found


def test_without_tickets_it_is_not(monkeypatch):
    inside(TokenAuthMiddleware(consumer, SignedTokenVerifier()), monkeypatch)
    assert check_ticket_cache(None) == []


def test_a_setting_that_is_none_is_told_of_once(settings, monkeypatch):
    settings.CHANNELS_TICKETS = []
    inside(TokenAuthMiddleware(consumer, TicketVerifier()), monkeypatch)
    assert check_ticket_cache(None) == []


@pytest.mark.parametrize(
    ("outer", "inner", "required", "told"),
    [
        ([SignedTokenVerifier()], [SignedTokenVerifier(), TicketVerifier()], True, None),
        ([TicketVerifier()], [SignedTokenVerifier()], False, None),
        ([TicketVerifier()], [SignedTokenVerifier()], True, "those that TicketVerifier has"),
        ([SignedTokenVerifier(salt="a")], [SignedTokenVerifier()], True, "SignedTokenVerifier has"),
    ],
)
def test_required_tokens_that_another_middleware_takes(monkeypatch, outer, inner, required, told):
    within = TokenAuthMiddleware(consumer, inner, required=required)
    routes = AuthMiddlewareStack(URLRouter([path("", within)]))
    application = TokenAuthMiddleware(routes, outer)
    monkeypatch.setattr(application_checks, "project_application", lambda: application)
    found = check_nested_tokens(None)
    assert [message.id for message in found] == (["channels.W041"] if told else [])
    assert all(told in message.msg for message in found)

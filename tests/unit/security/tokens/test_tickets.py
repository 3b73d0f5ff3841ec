"""Tickets: good once, for a short time, and not longer than what they stand for."""

import asyncio
import json
import time
from datetime import UTC, datetime
from importlib import import_module

import pytest
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore
from django.core.exceptions import ImproperlyConfigured
from django.test import Client
from django.urls import path

from channels.exceptions import InvalidArgument, TokenRefused
from channels.revocation import adisconnect_session
from channels.security.tokens import TicketVerifier, TicketView, make_ticket
from channels.security.tokens.tickets import TicketPlan
from tests.asgi import until

from .helpers import Echo, application, connected, create_user, in_thread, refused

pytestmark = pytest.mark.django_db(transaction=True)

urlpatterns = [path("ticket/", TicketView.as_view())]

CACHES = {
    "locmem": "django.core.cache.backends.locmem.LocMemCache",
    "file": "django.core.cache.backends.filebased.FileBasedCache",
    "database": "django.core.cache.backends.db.DatabaseCache",
}


@pytest.fixture(autouse=True)
def surroundings(settings):
    settings.ROOT_URLCONF = __name__
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"


@pytest.fixture
async def anna():
    return await in_thread(create_user)


def sign_in(user):
    session = import_module("django.contrib.sessions.backends.db").SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    session.save()
    return session


async def verify(ticket):
    return await TicketVerifier().verify(ticket)


@pytest.mark.parametrize("kind", CACHES)
async def test_of_many_that_use_it_at_the_same_time_one_comes_in(settings, tmp_path, anna, kind):
    location = {"file": str(tmp_path), "database": "tickets"}.get(kind, "tickets")
    settings.CACHES = {"default": {"BACKEND": CACHES[kind], "LOCATION": location}}
    if kind == "database":
        from django.core.management import call_command

        await in_thread(call_command, "createcachetable")
    ticket = await in_thread(make_ticket, anna)
    outcomes = await asyncio.gather(*[verify(ticket) for _ in range(10)], return_exceptions=True)
    good = [outcome for outcome in outcomes if not isinstance(outcome, Exception)]
    assert [identity.user for identity in good] == [anna]
    assert {str(error) for error in outcomes if error is not good[0]} == {
        "the ticket was used, has expired, or never was one"
    }


async def test_it_is_good_for_its_lifetime(settings, anna):
    settings.CHANNELS_TICKETS = {"LIFETIME": 0.05}
    ticket = await in_thread(make_ticket, anna)
    await asyncio.sleep(0.06)
    with pytest.raises(TokenRefused, match="has expired"):
        await verify(ticket)


async def test_what_is_no_ticket_is_left_to_others():
    assert await verify("abc") is None
    with pytest.raises(TokenRefused, match="never was one"):
        await verify("ticket_abc")
    assert repr(TicketVerifier()) == "TicketVerifier()"


async def test_it_ends_with_the_password_and_the_user(anna):
    ticket, another = await in_thread(make_ticket, anna), await in_thread(make_ticket, anna)
    anna.set_password("other")
    await in_thread(anna.save)
    with pytest.raises(TokenRefused, match="the password has changed"):
        await verify(ticket)
    await in_thread(anna.delete)
    with pytest.raises(TokenRefused, match="the user is gone"):
        await verify(another)


async def test_its_connection_may_have_an_end(anna):
    ticket = await in_thread(make_ticket, anna, expires_at=time.time() + 50)
    assert 49 < (await verify(ticket)).expires_in < 50
    end = time.time() + 0.05
    ended = await in_thread(make_ticket, anna, expires_at=end)
    await until(lambda: time.time() > end)
    query = f"ticket={ended}".encode()
    assert (await refused(application(TicketVerifier()), query_string=query))[0] == 401


async def test_a_ticket_of_a_session_ends_with_the_session(anna):
    session = await in_thread(sign_in, anna)
    app = application(TicketVerifier())
    tickets = [
        await in_thread(make_ticket, anna, session_key=session.session_key) for _ in range(2)
    ]
    async with connected(app, query_string=f"ticket={tickets[0]}".encode()) as server:
        assert Echo.seen["session"].session_key == session.session_key
        await in_thread(session.delete)
        await until(lambda: server.sent[-1]["type"] == "websocket.close")
        assert server.sent[-1]["code"] == 4401
    with pytest.raises(TokenRefused, match="the session of the ticket has ended"):
        await verify(tickets[1])


async def test_a_session_can_be_disconnected_by_hand(anna):
    session = await in_thread(sign_in, anna)
    ticket = await in_thread(make_ticket, anna, session_key=session.session_key)
    app = application(TicketVerifier())
    async with connected(app, query_string=f"ticket={ticket}".encode()) as server:
        await adisconnect_session(session.session_key)
        await until(lambda: server.sent[-1]["type"] == "websocket.close")
        assert Echo.seen["user"] == anna


async def test_a_session_of_somebody_else_is_not_taken_over(anna):
    berta = await in_thread(create_user, "berta")
    session = await in_thread(sign_in, berta)
    ticket = await in_thread(make_ticket, anna, session_key=session.session_key)
    with pytest.raises(TokenRefused, match="the session of the ticket has ended"):
        await verify(ticket)


def fetch(user=None, **options):
    client = Client(**options)
    if user is not None:
        client.force_login(user)
    return client.post("/ticket/"), client


async def test_a_page_fetches_one(anna):
    response, client = await in_thread(fetch, anna)
    found = json.loads(response.content)
    assert found["expires_in"] == 30
    assert "no-store" in response["Cache-Control"]
    identity = await verify(found["ticket"])
    assert (identity.user, identity.session.session_key) == (anna, client.session.session_key)


async def test_nobody_else_gets_one(anna):
    assert (await in_thread(fetch))[0].status_code == 401
    assert (await in_thread(fetch, anna, enforce_csrf_checks=True))[0].status_code == 403
    response = await in_thread(lambda: fetch(anna)[1].get("/ticket/"))
    assert response.status_code == 405


class ByHeader:
    """Finds the user in another way than by a session."""

    def __init__(self, get_response):
        self.get_response = get_response

    def __call__(self, request):
        from django.contrib.auth import get_user_model

        request.user = get_user_model().objects.get()
        return self.get_response(request)


async def test_users_without_a_session_get_one_too(anna, settings):
    settings.MIDDLEWARE = [f"{__name__}.ByHeader"]
    response, _ = await in_thread(fetch)
    identity = await verify(json.loads(response.content)["ticket"])
    assert (identity.user, identity.session) == (anna, None)


def test_the_setting(settings):
    assert TicketPlan.from_settings() == TicketPlan("default", 30.0)
    settings.CACHES = {**settings.CACHES, "tickets": settings.CACHES["default"]}
    settings.CHANNELS_TICKETS = {"CACHE": "tickets", "LIFETIME": 5}
    assert TicketPlan.from_settings() == TicketPlan("tickets", 5.0)


@pytest.mark.parametrize(
    ("setting", "text"),
    [
        (None, "must be a dict with the keys CACHE and LIFETIME"),
        ({"TIME": 5}, "must be a dict with the keys CACHE and LIFETIME"),
        ({"CACHE": "x"}, "an alias of the setting CACHES, not 'x'"),
        ({"LIFETIME": 0}, "a number of seconds above 0, not 0"),
        ({"LIFETIME": True}, "a number of seconds above 0, not True"),
        ({"LIFETIME": "5"}, "a number of seconds above 0, not '5'"),
    ],
)
def test_mistakes_in_the_setting(settings, setting, text):
    settings.CHANNELS_TICKETS = setting
    with pytest.raises(ImproperlyConfigured, match=text):
        TicketPlan.from_settings()


@pytest.mark.parametrize(
    ("wrong", "told"),
    [
        ({"expires_at": datetime.now(UTC)}, r"write timestamp\(\)"),
        ({"expires_at": time.time() - 5}, "is over, since"),
        ({"expires_at": float("nan")}, "in seconds since the epoch"),
        ({"session_key": ""}, "request.session.session_key"),
        ({"session_key": SessionStore()}, "request.session.session_key"),
        ({"token_id": 7}, "token_id must be text"),
    ],
)
async def test_what_no_ticket_can_be_bound_to(anna, wrong, told):
    with pytest.raises(InvalidArgument, match=told):
        make_ticket(anna, **wrong)

"""Tokens that are revoked end the connections that came in with them, and no others."""

import asyncio
import json
import time
from datetime import timedelta
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.db import transaction
from django.db.models.signals import post_delete, post_save
from django.test import override_settings
from rest_framework.authtoken.models import Token, TokenProxy
from rest_framework_simplejwt.authentication import api_settings
from rest_framework_simplejwt.token_blacklist.models import BlacklistedToken, OutstandingToken
from rest_framework_simplejwt.tokens import AccessToken, RefreshToken, SlidingToken

from channels.control import handlers
from channels.db import database_sync_to_async
from channels.generic.longpoll import AsyncLongPollConsumer
from channels.generic.sse import AsyncSseConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.revocation import disconnect_token, events, token_events, watching
from channels.revocation.finding import digest
from channels.revocation.telling import TOKENS
from channels.security.tokens import (
    DRFTokenVerifier,
    Identity,
    SimpleJWTVerifier,
    TicketVerifier,
    TokenAuthMiddleware,
    make_ticket,
    refresh_token,
)
from tests import settings as base
from tests.asgi import Server, until

pytestmark = pytest.mark.django_db(transaction=True)


@pytest.fixture(autouse=True)
async def surroundings(monkeypatch):
    monkeypatch.setattr(watching, "_TICK", 1000.0)  # nothing but what is told can find anything
    former = channel_layers.set("default", InMemoryChannelLayer())
    yield
    watch = watching.watches.pop()
    if watch is not None and watch._tasks:
        await asyncio.wait(watch._tasks)
    channel_layers.set("default", former)


def in_thread(function, *args, **kwargs):
    return database_sync_to_async(function)(*args, **kwargs)


@pytest.fixture
async def anna():
    return await in_thread(get_user_model().objects.create_user, "anna", password="secret")


@pytest.fixture
async def bert():
    return await in_thread(get_user_model().objects.create_user, "bert", password="secret")


class Chat(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)


class Stays(Chat):
    ends_with_session = False


class Events(AsyncSseConsumer):
    pass


class Polls(AsyncLongPollConsumer):
    async def connect(self):
        await self.accept()
        await self.send("hello")


@pytest.fixture
async def connect():
    servers = []

    async def connect(verifiers, token, consumer=Chat, kind="websocket", query=b"", **scope):
        app = TokenAuthMiddleware(consumer.as_asgi(), verifiers)
        headers = [] if query else [(b"authorization", f"Bearer {token}".encode())]
        scope = {"subprotocols": [], "query_string": query, **scope}
        server = Server(app, kind, headers=headers, **scope)
        servers.append(server)
        if kind == "http":
            server.put("http.request")
            server.start()
            await until(lambda: server.sent)
        else:
            await server.connect()
            assert server.types() == ["websocket.accept"]
        return server

    yield connect
    for server in servers:
        await server.leave()


async def expect_closed(server, reason="the token was revoked"):
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    assert (server.sent[-1]["code"], server.sent[-1]["reason"]) == (4401, reason)


async def answer_of(poll):
    await poll.ended()
    return json.loads(b"".join(event.get("body", b"") for event in poll.sent))


async def expect_open(server):
    server.text("still there")
    await until(lambda: server.sent[-1].get("text") == "still there")


# authtoken


async def test_a_deleted_token_of_rest_framework(connect, anna, bert):
    token, other = [await in_thread(Token.objects.create, user=user) for user in (anna, bert)]
    mine = await connect(DRFTokenVerifier(), token.key)
    elsewhere = await connect(DRFTokenVerifier(), other.key)
    stays = await connect(DRFTokenVerifier(), token.key, Stays)
    await in_thread(token.delete)
    await expect_closed(mine)
    await expect_open(elsewhere)
    await expect_open(stays)


@pytest.mark.parametrize("model", [Token, TokenProxy])
async def test_streams_and_clients_that_poll(connect, anna, model):
    token = await in_thread(Token.objects.create, user=anna)
    verifier = DRFTokenVerifier()
    stream = await connect(verifier, token.key, Events, "http", method="GET")
    poll = await connect(verifier, token.key, Polls, "http", method="GET")
    socket = await connect(verifier, token.key)
    cursor = (await answer_of(poll))["cursor"]
    await in_thread(model.objects.filter(user=anna).delete)
    await stream.ended()
    await expect_closed(socket)
    query = f"cursor={cursor}".encode()
    poll = Server(Polls.as_asgi(), "http", method="GET", query_string=query)
    poll.put("http.request")
    poll.start()
    assert (await answer_of(poll))["closed"]["code"] == 4401


async def test_a_deletion_that_is_rolled_back_ends_nothing(connect, anna):
    token = await in_thread(Token.objects.create, user=anna)
    server = await connect(DRFTokenVerifier(), token.key)

    def fail():
        with transaction.atomic():
            Token.objects.all().delete()
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        await in_thread(fail)
    await handlers.call("gap", {"reason": "a test"})
    await asyncio.gather(*watching.watches.get()._tasks)
    await expect_open(server)


async def test_what_no_signal_tells_is_found_by_the_looks(connect, anna):
    token = await in_thread(Token.objects.create, user=anna)
    server = await connect(DRFTokenVerifier(), token.key)
    await in_thread(Token.objects.filter(user=anna).update, key="another")
    await handlers.call("gap", {"reason": "a test"})
    await expect_closed(server)


async def test_while_it_is_switched_off_nothing_ends(connect, anna, settings):
    token = await in_thread(Token.objects.create, user=anna)
    server = await connect(DRFTokenVerifier(), token.key)
    settings.CHANNELS_REVOCATION = None
    assert not post_delete.has_listeners(Token)
    assert not post_save.has_listeners(BlacklistedToken)
    await in_thread(token.delete)
    await handlers.call(TOKENS, {"values": [digest(DRFTokenVerifier.token_id(token))]})
    await asyncio.gather(*watching.watches.get()._tasks)
    await expect_open(server)


def test_nothing_is_heard_of_apps_that_are_not_installed():
    assert post_delete.has_listeners(Token)
    assert post_save.has_listeners(BlacklistedToken)
    apps = [name for name in base.INSTALLED_APPS if not name.startswith("rest_framework")]
    with override_settings(INSTALLED_APPS=apps):
        assert not post_delete.has_listeners(Token)
        assert not post_save.has_listeners(BlacklistedToken)
    assert post_delete.has_listeners(TokenProxy)
    token_events.watch()  # which changes nothing
    assert post_save.has_listeners(BlacklistedToken)


# simplejwt


@pytest.fixture
def sliding(monkeypatch):
    """simplejwt takes tokens that stand in its list themselves."""
    monkeypatch.setattr(api_settings, "AUTH_TOKEN_CLASSES", (SlidingToken,))


async def test_a_sliding_token_that_is_blocked(connect, anna, sliding):
    token, other = [await in_thread(SlidingToken.for_user, anna) for _ in range(2)]
    mine, elsewhere = [await connect(SimpleJWTVerifier(), it) for it in (token, other)]
    await in_thread(token.blacklist)
    await expect_closed(mine)
    await expect_open(elsewhere)


async def test_tokens_that_are_blocked_many_at_a_time_are_found_by_the_looks(
    connect, anna, sliding
):
    token = await in_thread(SlidingToken.for_user, anna)
    server = await connect(SimpleJWTVerifier(), token)

    def block():
        row = OutstandingToken.objects.get(jti=token["jti"])
        BlacklistedToken.objects.bulk_create([BlacklistedToken(token=row)])

    await handlers.call("gap", {"reason": "a test"})
    await asyncio.gather(*watching.watches.get()._tasks)
    await expect_open(server)
    await in_thread(block)
    await handlers.call("gap", {"reason": "a test"})
    await expect_closed(server)


async def test_access_tokens_of_one_sign_in_end_by_the_claim_that_they_share(connect, anna):
    verifier = SimpleJWTVerifier(id_claim="sid")

    def sign_in(name):
        refresh = RefreshToken.for_user(anna)
        refresh["sid"] = name
        return refresh

    phone, laptop = await in_thread(sign_in, "phone"), await in_thread(sign_in, "laptop")
    first = await connect(verifier, phone.access_token)
    phone.set_jti()  # as a rotation does
    second = await connect(verifier, phone.access_token)
    other = await connect(verifier, laptop.access_token)
    await in_thread(phone.blacklist)  # which says nothing of access tokens
    await expect_open(first)
    await asyncio.to_thread(disconnect_token, phone["sid"], reason="signed out")
    for server in (first, second):
        await expect_closed(server, "signed out")
    await expect_open(other)


async def test_rows_that_are_loaded_or_changed_are_no_news(monkeypatch, anna, tmp_path):
    told = []
    monkeypatch.setattr(token_events, "tell", lambda *what: told.append(what))
    token = await in_thread(SlidingToken.for_user, anna)

    def block_save_and_load():
        row, _ = token.blacklist()
        row.save()
        file = tmp_path / "rows.json"
        call_command("dumpdata", "token_blacklist", output=str(file))
        row.delete()
        call_command("loaddata", str(file), verbosity=0)

    await in_thread(block_save_and_load)
    assert told == [(TOKENS, digest(token["jti"]), "default")]


# Tickets, newer tokens, and verifiers of a project


async def test_a_ticket_ends_with_the_token_that_has_fetched_it(connect, anna, settings):
    settings.CACHES = {"default": {"BACKEND": "django.core.cache.backends.locmem.LocMemCache"}}
    token = await in_thread(Token.objects.create, user=anna)
    ticket = await in_thread(make_ticket, anna, token_id=DRFTokenVerifier.token_id(token))
    server = await connect(TicketVerifier(), None, query=f"ticket={ticket}".encode())
    await in_thread(token.delete)
    await expect_closed(server)


async def test_the_token_counts_that_was_shown_last(connect, anna):
    tokens = [await in_thread(AccessToken.for_user, anna) for _ in range(2)]
    tokens[1].set_exp(lifetime=timedelta(hours=1))
    seen = []

    class Refreshed(Chat):
        async def connect(self):
            await self.accept()
            await refresh_token(self.scope, str(tokens[1]))
            seen.append(self.scope["token"].token_id)

    server = await connect(SimpleJWTVerifier(), tokens[0], Refreshed)
    await until(lambda: seen == [tokens[1]["jti"]])
    await asyncio.to_thread(disconnect_token, tokens[0]["jti"])
    await expect_open(server)
    await asyncio.to_thread(disconnect_token, tokens[1]["jti"], reason="gone")
    await expect_closed(server, "gone")


async def test_a_verifier_of_a_project_says_itself_what_is_revoked(connect, anna):
    revoked = []

    class Mine:
        async def verify(self, token):
            return Identity(anna, time.time() + 60, is_revoked=lambda: "all" in revoked)

    server = await connect(Mine(), "token")
    await asyncio.to_thread(disconnect_token, "None")
    await handlers.call("gap", {"reason": "a test"})
    await asyncio.gather(*watching.watches.get()._tasks)
    await expect_open(server)
    revoked.append("all")
    await handlers.call("gap", {"reason": "a test"})
    await expect_closed(server)


async def test_no_command_names_a_token_and_nothing_keeps_it(monkeypatch, connect, anna):
    told = []
    token = await in_thread(Token.objects.create, user=anna)
    await connect(DRFTokenVerifier(), token.key)
    [connection] = watching.connections.get().open
    identity = connection.scope["token"]
    assert token.key not in f"{identity!r} {identity.token_id} {identity.is_revoked!r}"
    monkeypatch.setattr(events, "bulletin", SimpleNamespace(add=lambda *what: told.append(what)))
    key = token.key
    await in_thread(token.delete)
    [(command, value)] = told
    assert command == TOKENS
    assert key not in value
    assert value == digest(identity.token_id)

"""Sockets close when the session or the user that they belong to may not go on, in this process."""

import asyncio
import contextlib
import logging
from datetime import timedelta
from importlib import import_module

import pytest
from asgiref.sync import ThreadSensitiveContext, async_to_sync
from django.contrib.auth import BACKEND_SESSION_KEY, HASH_SESSION_KEY, SESSION_KEY, get_user_model
from django.contrib.sessions.models import Session
from django.utils import timezone

from channels._runtime.connections import connections
from channels.auth import AuthMiddlewareStack, login, logout
from channels.control import handlers
from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.revocation import finding, telling, validity, watching
from tests.asgi import Server, until

pytestmark = pytest.mark.django_db(transaction=True)

# Whichever hears of it first: the command, or a look at the store.
SIGNED_OUT = ("signed out", "the session has ended")

ENGINES = ("db", "cached_db", "cache", "file", "signed_cookies")


@pytest.fixture(autouse=True)
async def surroundings(settings, monkeypatch, tmp_path):
    settings.SESSION_FILE_PATH = str(tmp_path)
    settings.CACHES = {
        "default": {
            "BACKEND": "django.core.cache.backends.locmem.LocMemCache",
            "LOCATION": "revocation",
        }
    }
    monkeypatch.setattr(watching, "_TICK", 0.03)
    monkeypatch.setattr(watching, "_LOOKS", (0.0, 0.02))
    monkeypatch.setattr(watching, "_SETTLED", 0.1)
    former = channel_layers.set("default", InMemoryChannelLayer())
    yield
    watch = watching.watches.pop()
    if watch is not None:  # what it asks must not lock the database that is emptied next
        if watch._timer is not None:
            watch._timer.cancel()
        if watch._tasks:
            await asyncio.wait(watch._tasks)
    channel_layers.set("default", former)


@pytest.fixture
def no_looks(monkeypatch):
    """Nothing but what is told can find anything."""
    monkeypatch.setattr(watching, "_TICK", 1000.0)


@pytest.fixture(params=ENGINES)
def engine(request, settings):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
    return request.param


class Chat(AsyncWebsocketConsumer):
    async def receive(self, text_data=None, bytes_data=None):
        await self.send(text_data)


class Stays(Chat):
    ends_with_session = False


async def in_thread(function, *args, **kwargs):
    from channels.db import database_sync_to_async

    return await database_sync_to_async(function)(*args, **kwargs)


def create_user(name="anna"):
    return get_user_model().objects.create_user(name, password="secret")


def sign_in(user, age=None):
    from django.conf import settings

    session = import_module(settings.SESSION_ENGINE).SessionStore()
    session[SESSION_KEY] = str(user.pk)
    session[BACKEND_SESSION_KEY] = "django.contrib.auth.backends.ModelBackend"
    session[HASH_SESSION_KEY] = user.get_session_auth_hash()
    if age is not None:
        session.set_expiry(age)
    session.save()
    return session


@contextlib.asynccontextmanager
async def connected(session, consumer=Chat):
    cookie = f"sessionid={session.session_key}".encode()
    server = await Server(
        AuthMiddlewareStack(consumer.as_asgi()), headers=[(b"cookie", cookie)]
    ).connect()
    try:
        yield server
    finally:
        await server.leave()


async def expect_closed(server, *reasons):
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    assert server.sent[-1]["code"] == 4401
    assert server.sent[-1]["reason"] in reasons


async def expect_open(server):
    server.text("still there")
    await until(lambda: server.sent[-1].get("text") == "still there")
    assert server.types().count("websocket.close") == 0


async def test_signing_out_elsewhere_closes_the_sockets_of_the_session(engine, no_looks):
    user = await in_thread(create_user)
    session, other = await in_thread(sign_in, user), await in_thread(sign_in, user, 1000)
    async with connected(session) as mine, connected(other) as others:
        await in_thread(session.delete)
        await expect_closed(mine, *SIGNED_OUT)
        await expect_open(others)


async def test_the_asynchronous_methods_of_the_store_count_too(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session) as server:
        await session.acycle_key()
        await asyncio.sleep(0)
        await expect_open(server)
        await session.adelete()
        await expect_closed(server, *SIGNED_OUT)


async def test_a_changed_password_closes_the_sockets_of_other_sessions(engine, no_looks):
    user = await in_thread(create_user)
    session, own = await in_thread(sign_in, user), await in_thread(sign_in, user, 1000)

    def change():
        user.set_password("other")
        user.save()
        own[HASH_SESSION_KEY] = user.get_session_auth_hash()
        own.cycle_key()
        own.save()

    async with connected(session) as server, connected(own) as mine:
        await in_thread(change)
        await expect_closed(server, "the password has changed")
        if engine != "signed_cookies":
            await expect_open(mine)


@pytest.mark.parametrize("how", ["deactivate", "delete"])
async def test_users_that_are_deactivated_or_deleted_are_disconnected(engine, how, no_looks):
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)

    def change():
        user.is_active = False
        user.save() if how == "deactivate" else user.delete()

    async with connected(session) as server:
        await in_thread(change)
        await expect_closed(server, "the user is gone or not active")


async def test_sockets_close_when_their_session_expires(engine):
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user, 1)
    async with connected(session) as server:
        began = timezone.now()
        await until(lambda: server.sent[-1]["type"] == "websocket.close", 10)
        assert server.sent[-1]["code"] == 4401
        if engine != "signed_cookies":  # whose clock has whole seconds
            assert timezone.now() - began > timedelta(seconds=0.3)


async def test_a_session_that_was_renewed_meanwhile_goes_on(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user, 1000)
    async with connected(session) as server:
        await until(lambda: watching.watches.get()._due)
        watch = watching.watches.get()
        watch._due = dict.fromkeys(watch._due, 0.0)  # as if it had been renewed since the look
        await until(lambda: watch._due and min(watch._due.values()) > 0)
        await expect_open(server)


async def test_what_sends_no_signal_is_found_by_the_looks_at_all(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    settings.CHANNELS_REVOCATION = {"INTERVAL": 0.05}
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session) as server:
        await in_thread(get_user_model().objects.filter(pk=user.pk).update, is_active=False)
        await expect_closed(server, "the user is gone or not active")


async def test_after_a_gap_everything_is_looked_at(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session) as server:
        await in_thread(session.model.objects.all().delete)
        await handlers.call("gap", {"reason": "a test"})
        await expect_closed(server, "the session has ended")


async def test_another_user_in_the_same_session_ends_it(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user, other = await in_thread(create_user), await in_thread(create_user, "bert")
    session = await in_thread(sign_in, user)

    def change():
        session[SESSION_KEY] = str(other.pk)
        session.save()

    async with connected(session) as server:
        await in_thread(change)
        await handlers.call("gap", {"reason": "a test"})
        await expect_closed(server, "somebody else has signed in")


@pytest.mark.parametrize("consumer", [Chat, Stays])
async def test_nothing_ends_where_that_is_not_wanted(settings, consumer):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    if consumer is Chat:
        settings.CHANNELS_REVOCATION = None
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session, consumer) as server:
        await in_thread(session.delete)
        for command, data in (
            (telling.ENDED, {"values": [watching_digest(session)]}),
            (telling.USERS, {"values": [str(user.pk)]}),
            ("gap", {"reason": "a test"}),
        ):
            await handlers.call(command, data)
        await asyncio.sleep(0.1)
        await expect_open(server)


def watching_digest(session):
    from channels.revocation.finding import digest

    return digest(session.session_key or "x")


async def test_users_without_a_session_are_looked_at_too():
    user = await in_thread(create_user)
    server = await Server(
        Chat.as_asgi(), user=await in_thread(get_user_model().objects.get)
    ).connect()
    await handlers.call(telling.USERS, {"values": [str(user.pk)]})
    await expect_open(server)
    await in_thread(user.delete)
    await expect_closed(server, "the user is gone or not active")
    await server.leave()


async def test_a_store_that_cannot_be_asked_ends_nothing(settings, monkeypatch, caplog):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)

    def fail(*args):
        raise OSError("the store is away")

    async with connected(session) as server:
        monkeypatch.setattr(type(session), "exists", fail)
        monkeypatch.setattr(type(session), "load", fail)
        with caplog.at_level(logging.WARNING, "channels.revocation"):
            await handlers.call("gap", {"reason": "a test"})
            await until(lambda: "cannot be found out (OSError: the store is away)" in caplog.text)
        await expect_open(server)
        monkeypatch.undo()


async def test_a_look_that_fails_is_logged_and_followed_by_others(monkeypatch, caplog):
    def fail():
        raise RuntimeError("a bad plan")

    server = await Server(Chat.as_asgi()).connect()
    with monkeypatch.context() as patched, caplog.at_level(logging.ERROR, "channels.revocation"):
        patched.setattr(watching.Plan, "in_force", fail)
        await until(lambda: "a bad plan" in caplog.text)
    watch = watching.watches.get()
    await until(lambda: watch._known == connections.get().open)
    await server.leave()


async def test_a_model_without_session_hashes_is_no_reason_to_end(settings, monkeypatch):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session) as server:
        with monkeypatch.context() as patched:
            patched.delattr(get_user_model().__mro__[2], "get_session_auth_hash")
            [connection] = connections.get().open
            assert await validity.refused([connection]) == {}
        await expect_open(server)


async def test_nothing_is_kept_of_connections_that_have_ended(engine):
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    watch = watching.watches.get()
    async with connected(session):
        [connection] = connections.get().open
        await until(lambda: connection in watch._turn)
        async with connected(session):
            await until(lambda: len(watch._turn) == 2)
        await until(lambda: list(watch._turn) == [connection])
        assert set(watch._due) | set(watch._polled) == {connection}
    await until(lambda: not watch._known)
    assert not watch._turn
    assert not watch._due
    assert not watch._polled


async def test_dates_without_a_zone_are_of_the_projects(settings, monkeypatch):
    settings.USE_TZ = False
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user, 1000)
    async with connected(session) as server:
        await until(lambda: watching.watches.get()._due)
        [due] = watching.watches.get()._due.values()
        assert 900 < due - timezone.now().timestamp() < 1100
        await expect_open(server)


async def test_a_connection_that_has_ended_meanwhile_is_not_noted(settings, monkeypatch):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    monkeypatch.setattr(watching, "_TICK", 1000.0)
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    watch = watching.watches.get()
    async with connected(session):
        [connection] = connections.get().open
    assert connection not in connections.get().open
    await watch._note_expiry([connection])
    assert not watch._due
    assert not watch._polled


async def test_a_session_of_a_store_that_does_not_tell_is_asked_for_again_when_it_was_due(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    watch = watching.watches.get()
    async with connected(session) as server:
        await until(lambda: watch._polled)
        [connection] = connections.get().open
        await watch._note_expiry([connection], expired=True)
        assert list(watch._polled) == [connection]
        await expect_open(server)


class Accounts(AsyncWebsocketConsumer):
    """Where people sign in and out without leaving."""

    async def receive(self, text_data=None, bytes_data=None):
        what, _, name = text_data.partition(" ")
        if what == "in":
            await login(self.scope, await get_user_model().objects.aget(username=name))
        elif what == "out":
            await logout(self.scope)
        elif what == "save":
            await self.scope["session"].asave()
        elif what == "token":
            self.scope["user"] = await get_user_model().objects.aget(username=name)
        await self.send(text_data)


class SyncAccounts(WebsocketConsumer):
    def receive(self, text_data=None, bytes_data=None):
        what, _, name = text_data.partition(" ")
        if what == "in":
            user = get_user_model().objects.get(username=name)
            async_to_sync(login)(self.scope, user)
        elif what == "out":
            async_to_sync(logout)(self.scope)
        elif what == "save":
            self.scope["session"].save()
        self.send(text_data)


@contextlib.asynccontextmanager
async def visited():
    """The connection of somebody who has not signed in."""
    server = await Server(AuthMiddlewareStack(Accounts.as_asgi())).connect()
    try:
        await until(lambda: watching.watches.get()._aside)
        yield server
    finally:
        await server.leave()


async def say(server, *texts):
    for text in texts:
        server.text(text)
        await until(lambda text=text: server.sent[-1].get("text") == text)


class TestOnAnOpenConnection:
    @pytest.mark.parametrize("how", ["expiry", "what no event tells of"])
    async def test_who_signs_in_there_is_watched(self, settings, how):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        settings.SESSION_COOKIE_AGE = 1 if how == "expiry" else 1000
        await in_thread(create_user)
        async with visited() as server:
            await say(server, "in anna", "save")
            if how != "expiry":
                await until(lambda: watching.watches.get()._turn)
                await in_thread(Session.objects.all().delete)
            await expect_closed(server, "the session has expired", "the session has ended")

    async def test_who_signs_in_from_a_thread_is_looked_at_next(self, settings, no_looks):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        await in_thread(create_user)
        server = await Server(AuthMiddlewareStack(SyncAccounts.as_asgi())).connect()
        watch = watching.watches.get()
        await watch._look()
        [connection] = watch._known
        await say(server, "in anna", "save")
        await until(lambda: not watch._known)
        await watch._look()
        assert list(watch._turn) == [connection]
        await server.leave()

    async def test_a_sign_in_that_is_not_saved_yet_is_no_session_that_has_ended(self, engine):
        user = await in_thread(create_user)
        async with visited() as server:
            await say(server, "in anna")
            watch = watching.watches.get()
            [connection] = connections.get().open
            await until(lambda: connection in watch._turn)
            assert await watch.check([connection]) == {}
            await say(server, "save")
            assert await watch.check([connection]) == {}
            await in_thread(user.delete)
            await expect_closed(server, "the user is gone or not active")

    async def test_a_user_that_a_consumer_puts_into_its_scope_is_found_in_the_end(
        self, settings, monkeypatch
    ):
        monkeypatch.setattr(watching, "_AGAIN", 0.03)
        user = await in_thread(create_user)
        async with visited() as server:
            await say(server, "token anna")
            await until(lambda: watching.watches.get()._turn)
            await in_thread(get_user_model().objects.filter(pk=user.pk).update, is_active=False)
            await expect_closed(server, "the user is gone or not active")

    async def test_who_signs_out_there_stays_and_other_tabs_go(self, engine):
        await self.check_sign_out(Accounts)

    async def test_who_signs_out_from_a_thread_stays_too(self, settings):
        # Nothing is written to the database, which SQLite would lock against the looks.
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.cache"
        await self.check_sign_out(SyncAccounts)

    async def check_sign_out(self, consumer):
        user = await in_thread(create_user)
        session = await in_thread(sign_in, user)
        async with connected(session, consumer) as own, connected(session) as other:
            await say(own, "out")
            await expect_closed(other, *SIGNED_OUT)
            await say(own, "still there")

    async def test_another_session_of_a_token_is_not_asked(self, settings):
        settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
        users = await in_thread(create_user), await in_thread(create_user, "bert")
        session = await in_thread(sign_in, users[0])
        async with connected(session, Accounts) as server:
            await say(server, "token bert")
            await in_thread(session.flush)
            await handlers.call("gap", {"reason": "a test"})
            await asyncio.sleep(0.15)
            await say(server, "still there")
            await in_thread(users[1].delete)
            await expect_closed(server, "the user is gone or not active")


async def test_a_session_under_a_key_that_nobody_here_knows_ends_at_its_age(settings, no_looks):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user, 1000)
    async with connected(session) as server:
        watch = watching.watches.get()
        [connection] = connections.get().open
        old = watching_digest(session)
        await handlers.call(telling.RENAMED, {"values": [(old, "another")]})
        await until(lambda: finding.renamed(connection))
        await watch._note_expiry([connection])
        assert 900 < watch._due[connection] - timezone.now().timestamp() < 1100
        await watch._note_expiry([connection], expired=True)
        await expect_closed(server, "the session has expired")


async def test_a_session_without_a_backend_that_the_project_has_signs_nobody_in(settings, no_looks):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with connected(session) as server:
        session[BACKEND_SESSION_KEY] = "a.backend.of.yesterday"
        await in_thread(session.save)
        await handlers.call("gap", {"reason": "a test"})
        await expect_closed(server, "the session has ended")


async def test_to_begin_again_changes_nothing():
    watching.watch()
    assert watching.when_first.count(watching.start) == 1
    assert watching.when_signed_in.count(watching.signed_in) == 1
    server = await Server(Chat.as_asgi()).connect()
    watch = watching.watches.get()
    timer = watch._timer
    watching.start()
    assert watch._timer is timer
    await server.leave()


def test_an_event_loop_that_has_stopped_is_not_told_who_has_signed_in():
    loop = asyncio.new_event_loop()

    async def begin():
        return watching.watches.get()

    watch = loop.run_until_complete(begin())
    watch._known.add(None)
    watching.signed_in({})
    assert watch._known == {None}
    loop.close()


async def test_looks_are_none_of_the_request_that_began_them(settings):
    """Django gives each request a thread, and ends it with the request."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    async with contextlib.AsyncExitStack() as stack:
        async with ThreadSensitiveContext():
            server = await stack.enter_async_context(connected(session))
            await in_thread(user.delete)
        await expect_closed(server, "the user is gone or not active")


async def test_a_connection_that_follows_the_last_one_at_once_is_looked_at(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.db"
    user = await in_thread(create_user)
    session = await in_thread(sign_in, user)
    watch = watching.watches.get()
    async with connected(session):
        pass
    await until(lambda: watch._timer is None)  # there is nothing to look at
    async with connected(session) as server:
        await until(lambda: watch._turn)
        await in_thread(session.model.objects.all().delete)
        await handlers.call("gap", {"reason": "a test"})
        await expect_closed(server, "the session has ended")

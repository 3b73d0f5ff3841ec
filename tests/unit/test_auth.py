import asyncio
import os
import subprocess
import sys
from pathlib import Path

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import (
    BACKEND_SESSION_KEY,
    HASH_SESSION_KEY,
    SESSION_KEY,
    get_user_model,
)
from django.contrib.auth import get_user as django_get_user
from django.contrib.auth.models import AnonymousUser
from django.contrib.auth.signals import user_logged_in, user_logged_out
from django.contrib.sessions.backends.db import SessionStore
from django.contrib.sessions.models import Session
from django.core.exceptions import ImproperlyConfigured
from django.db import connection
from django.http import HttpRequest
from django.test import Client
from django.test.utils import CaptureQueriesContext

from channels.auth import (
    AuthMiddleware,
    AuthMiddlewareStack,
    UserLazyObject,
    get_user,
    login,
    logout,
)
from channels.sessions import CookieMiddleware, SessionMiddleware, SessionMiddlewareStack

MODEL_BACKEND = "django.contrib.auth.backends.ModelBackend"
ALL_USERS_BACKEND = "django.contrib.auth.backends.AllowAllUsersModelBackend"

pytestmark = pytest.mark.django_db


async def receive():
    raise AssertionError("nobody asked the client anything")


def run(application, scope):
    """Call an application from this thread, so that it sees the test's transaction."""
    sent = []

    async def send(message):
        sent.append(message)

    async_to_sync(application)(scope, receive, send)
    return sent


def connect(headers=(), stack=AuthMiddlewareStack, **scope):
    """The scope that a consumer finds behind the middleware."""
    found = []

    async def application(scope, receive, send):
        found.append(scope)

    run(stack(application), {"type": "websocket", "headers": list(headers), **scope})
    return found[0]


def cookie(session):
    return [(b"cookie", f"sessionid={session.session_key}".encode())]


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice", password="secret")


@pytest.fixture
def bob():
    return get_user_model().objects.create_user("bob", password="hunter2")


@pytest.fixture
def signed_in(alice):
    """A stored session that Django's own sign-in has made for alice."""
    client = Client()
    client.force_login(alice)
    return client.session


@pytest.fixture
def hops(monkeypatch):
    """Everything that is handed to a thread, counted where event loops do it."""
    counted = []
    original = asyncio.BaseEventLoop.run_in_executor

    def run_in_executor(self, executor, function, *arguments):
        counted.append(function)
        return original(self, executor, function, *arguments)

    monkeypatch.setattr(asyncio.BaseEventLoop, "run_in_executor", run_in_executor)
    return counted


@pytest.fixture
def signals():
    """The signals of django.contrib.auth that were sent."""
    received = []

    def on_login(sender, request, user, **kwargs):
        received.append(("in", sender, request, user))

    def on_logout(sender, request, user, **kwargs):
        received.append(("out", sender, request, user))

    user_logged_in.connect(on_login)
    user_logged_out.connect(on_logout)
    yield received
    user_logged_in.disconnect(on_login)
    user_logged_out.disconnect(on_logout)


def current_user(scope):
    return async_to_sync(get_user)(scope)


def sign_in(scope, user, backend=None):
    async_to_sync(login)(scope, user, backend)


def sign_out(scope):
    async_to_sync(logout)(scope)


# Connections


def test_a_consumer_finds_who_signed_in_with_django(alice, signed_in):
    scope = connect(cookie(signed_in))
    assert scope["user"] == alice
    assert scope["user"].is_authenticated
    assert isinstance(scope["user"], UserLazyObject)
    assert scope["user"]._wrapped.__class__ is get_user_model()
    assert scope["session"].session_key == signed_in.session_key


def test_resolving_session_and_user_takes_one_thread_hop_and_two_queries(signed_in, hops):
    with CaptureQueriesContext(
        connection,
    ) as queries:
        assert connect(cookie(signed_in))["user"].is_authenticated
    assert len(queries) == 2
    assert len(hops) == 1


def test_without_a_session_cookie_nothing_is_asked_and_no_thread_used(
    hops, django_assert_num_queries
):
    with django_assert_num_queries(0):
        scope = connect([(b"cookie", b"theme=dark"), (b"host", b"example.com")])
        assert scope["user"] == AnonymousUser()
    assert hops == []


@pytest.mark.parametrize("key", [b"", b"short", b"\x00" * 32, b"\xff" * 32])
def test_a_rubbish_session_cookie_is_nobody_and_costs_nothing(key, hops):
    assert connect([(b"cookie", b"sessionid=" + key)])["user"] == AnonymousUser()
    assert hops == []


def test_an_unknown_session_is_nobody():
    scope = connect([(b"cookie", b"sessionid=abcdefghijklmnopqrstuvwxyz012345")])
    assert scope["user"] == AnonymousUser()


def test_a_session_of_nobody_is_nobody():
    session = SessionStore()
    session["theme"] = "dark"
    session.save()
    scope = connect(cookie(session))
    assert scope["user"] == AnonymousUser()
    assert scope["session"]["theme"] == "dark"


@pytest.mark.parametrize("engine", ["cache", "cached_db", "file", "signed_cookies", "db"])
def test_every_session_engine_knows_its_user(engine, alice, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    client = Client()
    client.force_login(alice)
    assert connect(cookie(client.session))["user"] == alice


def test_an_http_response_that_may_depend_on_the_user_varies_by_cookie():
    async def application(scope, receive, send):
        await send({"type": "http.response.start", "status": 200, "headers": []})

    [start] = run(AuthMiddlewareStack(application), {"type": "http", "headers": []})
    assert start["headers"] == [(b"Vary", b"Cookie")]


def test_who_signs_in_over_http_is_signed_in_everywhere(alice):
    async def application(scope, receive, send):
        await login(scope, alice)
        await send({"type": "http.response.start", "status": 200, "headers": []})

    [start] = run(AuthMiddlewareStack(application), {"type": "http", "headers": []})
    headers = dict(start["headers"])
    key = headers[b"Set-Cookie"].split(b";")[0]
    assert connect([(b"cookie", key)])["user"] == alice


def test_a_user_is_not_ready_before_it_is_resolved():
    scope = {"type": "websocket", "session": SessionStore()}
    AuthMiddleware(None).populate_scope(scope)
    with pytest.raises(ValueError, match="Accessing scope user before it is ready"):
        scope["user"].is_authenticated  # noqa: B018
    async_to_sync(AuthMiddleware(None).resolve_scope)(scope)
    assert scope["user"] == AnonymousUser()


def test_the_user_needs_a_session():
    with pytest.raises(ValueError, match="SessionMiddleware must be above it"):
        connect(stack=AuthMiddleware)


def test_a_user_put_there_by_a_test_or_outer_middleware_stays(alice, signed_in, bob, hops):
    scope = connect(cookie(signed_in), user=bob)
    assert scope["user"] is bob
    resolved = UserLazyObject()
    resolved._wrapped = bob
    assert connect(cookie(signed_in), user=resolved)["user"] == bob
    assert hops == []


def test_an_outer_middleware_that_knows_nobody_leaves_it_to_the_session(alice, signed_in):
    unknown = UserLazyObject()
    unknown._wrapped = AnonymousUser()
    assert connect(cookie(signed_in), user=unknown)["user"] == alice


def test_a_stack_in_a_stack_resolves_once(alice, signed_in, hops):
    scope = connect(
        cookie(signed_in), stack=lambda inner: AuthMiddlewareStack(AuthMiddlewareStack(inner))
    )
    assert scope["user"] == alice
    assert len(hops) == 1


def test_a_session_that_is_a_plain_dict_will_do(alice):
    session = {
        SESSION_KEY: str(alice.pk),
        BACKEND_SESSION_KEY: MODEL_BACKEND,
        HASH_SESSION_KEY: alice.get_session_auth_hash(),
    }
    assert connect(session=session)["user"] == alice
    assert connect(session={})["user"] == AnonymousUser()


def test_subclasses_set_the_wrapped_user(alice):
    class TokenMiddleware(AuthMiddleware):
        async def resolve_scope(self, scope):
            scope["user"]._wrapped = alice

    def stack(inner):
        return CookieMiddleware(SessionMiddleware(TokenMiddleware(inner)))

    assert connect(stack=stack)["user"] == alice


def test_subclasses_may_do_without_a_session(alice):
    class TokenMiddleware(AuthMiddleware):
        def populate_scope(self, scope):
            scope["user"] = None

        async def resolve_scope(self, scope):
            scope["user"] = alice

    assert connect(stack=TokenMiddleware)["user"] is alice


# get_user


def test_without_a_session_there_is_no_telling():
    for function in (lambda: current_user({}), lambda: sign_out({}), lambda: sign_in({}, object())):
        with pytest.raises(ValueError, match="Cannot find session in scope"):
            function()


def test_an_inactive_user_is_nobody(alice, signed_in):
    alice.is_active = False
    alice.save()
    assert connect(cookie(signed_in))["user"] == AnonymousUser()


def test_a_deleted_user_is_nobody(alice, signed_in):
    alice.delete()
    assert connect(cookie(signed_in))["user"] == AnonymousUser()


def test_a_backend_that_is_no_longer_configured_lets_nobody_in(signed_in, settings):
    settings.AUTHENTICATION_BACKENDS = [ALL_USERS_BACKEND]
    assert connect(cookie(signed_in))["user"] == AnonymousUser()
    assert Session.objects.count() == 1


def test_a_changed_password_ends_the_session(alice, signed_in):
    alice.set_password("changed")
    alice.save()
    scope = connect(cookie(signed_in))
    assert scope["user"] == AnonymousUser()
    assert not Session.objects.exists()
    assert scope["session"].is_empty()


def test_a_session_without_a_hash_is_flushed(signed_in):
    del signed_in[HASH_SESSION_KEY]
    signed_in.save()
    assert connect(cookie(signed_in))["user"] == AnonymousUser()
    assert not Session.objects.exists()


def test_an_open_connection_learns_that_the_password_was_changed(alice, signed_in):
    scope = connect(cookie(signed_in))
    assert current_user(scope) == alice
    alice.set_password("changed")
    alice.save()
    assert current_user(scope) == AnonymousUser()


@pytest.mark.parametrize("engine", ["db", "cache", "cached_db", "file"])
def test_an_open_connection_learns_that_the_session_has_ended(engine, alice, settings, tmp_path):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    settings.SESSION_FILE_PATH = str(tmp_path)
    client = Client()
    client.force_login(alice)
    scope = connect(cookie(client.session))
    assert current_user(scope) == alice
    client.logout()
    assert current_user(scope) == AnonymousUser()


def test_an_open_connection_learns_that_the_session_has_expired(alice, signed_in):
    scope = connect(cookie(signed_in))
    Session.objects.update(expire_date="2001-01-01T00:00Z")
    assert current_user(scope) == AnonymousUser()


def test_asking_again_takes_one_thread_hop(signed_in, hops):
    scope = connect(cookie(signed_in))
    hops.clear()
    current_user(scope)
    assert len(hops) == 1


# Key rotation


@pytest.fixture
def rotated(signed_in, settings):
    settings.SECRET_KEY_FALLBACKS = [settings.SECRET_KEY]
    settings.SECRET_KEY = "a-new-key-a-new-key-a-new-key-a-new-key-a-new-key"
    # The session's data is signed too; SECRET_KEY_FALLBACKS verifies it.
    return signed_in


def test_a_session_from_before_a_key_rotation_is_upgraded_as_django_does(alice, rotated, settings):
    async def application(scope, receive, send):
        assert scope["user"] == alice
        await send({"type": "http.response.start", "status": 200, "headers": []})

    [start] = run(AuthMiddlewareStack(application), {"type": "http", "headers": cookie(rotated)})
    [upgraded] = Session.objects.all()
    assert upgraded.session_key != rotated.session_key
    assert dict(start["headers"])[b"Set-Cookie"].startswith(
        f"sessionid={upgraded.session_key};".encode()
    )
    settings.SECRET_KEY_FALLBACKS = []
    request = HttpRequest()
    request.session = SessionStore(upgraded.session_key)
    assert django_get_user(request) == alice


def test_a_websocket_does_not_take_the_session_away_from_the_browser(alice, rotated):
    scope = connect(cookie(rotated))
    assert scope["user"] == alice
    assert scope["session"][HASH_SESSION_KEY] == alice.get_session_auth_hash()
    assert scope["session"].session_key == rotated.session_key
    assert connect(cookie(rotated))["user"] == alice


def test_a_hash_that_no_key_verifies_flushes_the_session(rotated):
    rotated[HASH_SESSION_KEY] = "0" * 64
    rotated.save()
    assert connect(cookie(rotated))["user"] == AnonymousUser()
    assert not Session.objects.exists()


def test_a_key_that_is_no_longer_a_fallback_signs_everybody_out(rotated, settings, caplog):
    settings.SECRET_KEY_FALLBACKS = []
    assert connect(cookie(rotated))["user"] == AnonymousUser()
    assert "Session data corrupted" in caplog.text


# login


def test_signing_in_keeps_the_data_of_an_anonymous_session_under_a_new_key(alice, signals):
    session = SessionStore()
    session["basket"] = ["tea"]
    session.save()
    scope = connect(cookie(session))
    sign_in(scope, alice)
    assert scope["user"] is alice
    scope["session"].save()
    assert scope["session"].session_key != session.session_key
    assert not SessionStore().exists(session.session_key)
    again = connect(cookie(scope["session"]))
    assert again["user"] == alice
    assert again["session"]["basket"] == ["tea"]
    assert signals == [("in", get_user_model(), None, alice)]
    alice.refresh_from_db()
    assert alice.last_login is not None


def test_signing_in_again_keeps_the_session(alice, signed_in):
    scope = connect(cookie(signed_in))
    sign_in(scope, alice)
    assert scope["session"].session_key == signed_in.session_key


def test_signing_in_over_somebody_else_starts_an_empty_session(alice, bob, signed_in):
    signed_in["secret of alice"] = True
    signed_in.save()
    scope = connect(cookie(signed_in))
    sign_in(scope, bob)
    scope["session"].save()
    assert "secret of alice" not in scope["session"]
    assert not SessionStore().exists(signed_in.session_key)
    assert connect(cookie(scope["session"]))["user"] == bob


def test_signing_in_after_a_password_change_starts_an_empty_session(alice, signed_in):
    scope = connect(cookie(signed_in))
    alice.set_password("changed")
    alice.save()
    sign_in(scope, alice)
    assert scope["session"].session_key != signed_in.session_key
    assert current_user(scope) == alice


def test_who_has_signed_in_is_known_before_the_session_is_saved(alice):
    scope = connect()
    sign_in(scope, alice)
    assert current_user(scope) == alice


def test_signing_in_takes_one_thread_hop(alice, hops):
    scope = connect()
    sign_in(scope, alice)
    assert len(hops) == 1


def test_the_user_of_the_scope_signs_in_when_none_is_given(alice):
    scope = connect(user=alice)
    sign_in(scope, None)
    assert current_user(scope) == alice


@pytest.mark.parametrize("user", [None, AnonymousUser()])
def test_nobody_cannot_sign_in(user):
    with pytest.raises(ValueError, match="User must be passed as an argument"):
        sign_in(connect(), user)


def test_the_backend_must_be_told_when_there_are_several(alice, settings):
    settings.AUTHENTICATION_BACKENDS = [MODEL_BACKEND, ALL_USERS_BACKEND]
    scope = connect()
    with pytest.raises(ValueError, match="multiple authentication backends"):
        sign_in(scope, alice)
    assert scope["session"].is_empty()
    with pytest.raises(TypeError, match="dotted import path"):
        sign_in(scope, alice, object())
    sign_in(scope, alice, ALL_USERS_BACKEND)
    assert scope["session"][BACKEND_SESSION_KEY] == ALL_USERS_BACKEND
    alice.backend = MODEL_BACKEND
    sign_in(scope, alice)
    assert scope["session"][BACKEND_SESSION_KEY] == MODEL_BACKEND


def test_without_backends_nobody_can_sign_in(alice, settings):
    settings.AUTHENTICATION_BACKENDS = []
    with pytest.raises(ImproperlyConfigured, match="AUTHENTICATION_BACKENDS is empty"):
        sign_in(connect(), alice)


# logout


def test_signing_out_deletes_the_session(alice, signed_in, signals):
    scope = connect(cookie(signed_in))
    sign_out(scope)
    assert scope["user"] == AnonymousUser()
    assert current_user(scope) == AnonymousUser()
    assert not Session.objects.exists()
    assert connect(cookie(signed_in))["user"] == AnonymousUser()
    assert signals == [("out", get_user_model(), None, alice)]


def test_signing_out_nobody_tells_nobody(signals):
    scope = connect()
    sign_out(scope)
    assert signals == []
    assert scope["user"] == AnonymousUser()


def test_signing_out_adds_no_user_to_a_scope_that_has_none(signed_in):
    scope = connect(cookie(signed_in), stack=SessionMiddlewareStack)
    sign_out(scope)
    assert "user" not in scope
    assert not Session.objects.exists()


# Custom user models


def test_a_custom_user_model():
    """AUTH_USER_MODEL cannot change within a process: run its tests in another one."""
    root = Path(__file__).parents[2]
    result = subprocess.run(
        [
            sys.executable,
            *("-m", "pytest", "-q", "-p", "no:cacheprovider"),
            "--ds=tests.settings_custom_user",
            "tests/testapp/custom_user.py",
        ],
        cwd=root,
        env={**os.environ, "DJANGO_SETTINGS_MODULE": ""},
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert result.returncode == 0, result.stdout + result.stderr
    assert "passed" in result.stdout

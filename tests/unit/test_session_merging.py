"""A session that is saved hours after it was loaded undoes nothing that others did meanwhile."""

import gc
import weakref
from importlib import import_module

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import get_user_model
from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.base import UpdateError
from django.contrib.sessions.backends.db import SessionStore as DatabaseStore
from django.contrib.sessions.models import Session
from django.contrib.sessions.serializers import JSONSerializer
from django.core.cache import cache
from django.test import Client
from django.utils import timezone

from channels._runtime.merging import merging
from channels.auth import AuthMiddlewareStack, get_user, login, logout
from channels.exceptions import ChannelsError, SessionEnded
from channels.sessions import InstanceSessionWrapper, SessionMiddlewareStack

pytestmark = pytest.mark.django_db

SHARED = ["db", "cache", "cached_db", "file"]


class Custom(DatabaseStore):
    """A project's own, with a key of its own kind."""

    def _get_new_session_key(self):
        return f"custom{super()._get_new_session_key()[:20]}"


def store_of(engine):
    return import_module(f"django.contrib.sessions.backends.{engine}").SessionStore


@pytest.fixture(params=[*SHARED, "custom"])
def store(request, settings, tmp_path):
    """The project's SessionStore."""
    settings.SESSION_FILE_PATH = str(tmp_path)
    if request.param == "custom":
        settings.SESSION_ENGINE = __name__
        yield Custom
    else:
        settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{request.param}"
        yield store_of(request.param)
    cache.clear()


SessionStore = Custom  # what SESSION_ENGINE names


@pytest.fixture(params=["save", "asave"])
def save(request, store):
    """Saves a session as a synchronous or an asynchronous consumer does."""
    if request.param == "save":
        return lambda session: session.save()
    return lambda session: async_to_sync(session.asave)()


@pytest.fixture
def key(store):
    """Of a session with something in it."""
    session = store()
    session.update({"role": "admin", "cart": {"apples": 1}, "seen": [1, 2], "old": True})
    session.save()
    return session.session_key


@pytest.fixture
def socket(key):
    """The session of a connection that has lasted for long."""
    session = connect(key)
    assert session["role"] == "admin"
    return session


def scope_of(key, stack=SessionMiddlewareStack):
    """The scope of a WebSocket with this session cookie, as its consumer sees it."""
    seen = []

    async def application(scope, receive, send):
        seen.append(scope)

    headers = [(b"cookie", f"sessionid={key}".encode())]
    async_to_sync(stack(application))({"type": "websocket", "headers": headers}, None, None)
    return seen[0]


def connect(key):
    return scope_of(key)["session"]


def elsewhere(store, key, **changes):
    """What an ordinary request does meanwhile; None deletes."""
    session = store(key)
    for name, value in changes.items():
        if value is None:
            del session[name]
        else:
            session[name] = value
    session.save()


def stored(store, key):
    return dict(store(key).items())


def test_what_others_changed_stays(store, key, socket, save):
    elsewhere(store, key, role="guest", cart={"apples": 5}, old=None, new="theirs")
    socket["last_room"] = "lobby"
    save(socket)
    assert stored(store, key) == {
        "role": "guest",
        "cart": {"apples": 5},
        "seen": [1, 2],
        "new": "theirs",
        "last_room": "lobby",
    }
    assert dict(socket.items()) == stored(store, key)


def test_what_was_changed_here_is_saved(store, key, socket, save):
    elsewhere(store, key, role="guest", cart={"pears": 1})
    socket["role"] = "owner"
    socket["cart"]["apples"] = 2  # in place
    del socket["old"]
    save(socket)
    assert stored(store, key) == {"role": "owner", "cart": {"apples": 2}, "seen": [1, 2]}


def test_what_was_changed_here_only_is_kept_beside_what_changed_there(store, key, socket, save):
    elsewhere(store, key, cart={"pears": 1})
    socket["seen"].append(3)
    save(socket)
    assert stored(store, key)["cart"] == {"pears": 1}
    assert stored(store, key)["seen"] == [1, 2, 3]


def test_what_was_deleted_there_and_changed_here_is_saved(store, key, socket, save):
    elsewhere(store, key, role=None, old=None)
    socket["role"] = "owner"
    save(socket)
    assert stored(store, key)["role"] == "owner"
    assert "old" not in stored(store, key)


def test_a_value_that_only_looks_equal_is_a_change(store, key, socket, save):
    socket["old"] = 1
    save(socket)
    assert stored(store, key)["old"] is not True


def test_saving_again_and_again(store, key, socket, save):
    for number in range(3):
        elsewhere(store, key, theirs=number, role=f"role {number}")
        socket["ours"] = number
        save(socket)
    assert stored(store, key)["theirs"] == stored(store, key)["ours"] == 2
    assert socket["role"] == "role 2"


def test_two_connections_of_one_browser(store, key, save):
    one, other = connect(key), connect(key)
    assert one["role"] == other["role"]
    one["one"] = 1
    other["other"] = 2
    save(one)
    save(other)
    assert stored(store, key)["one"] == 1
    assert stored(store, key)["other"] == 2


def test_an_object_that_nobody_else_changed_stays_the_same_one(store, key, socket, save):
    cart = socket["cart"]
    elsewhere(store, key, role="guest")
    save(socket)
    cart["apples"] = 7
    save(socket)
    assert stored(store, key)["cart"] == {"apples": 7}


def test_what_was_emptied_without_a_look_is_empty(store, key, save):
    session = connect(key)
    session.clear()
    session["fresh"] = True
    save(session)
    assert stored(store, key) == {"fresh": True}


def test_a_session_without_a_cookie_is_created(store, save):
    session = connect("")
    session["a"] = 1
    save(session)
    assert stored(store, session.session_key) == {"a": 1}
    session["a"] = 2
    save(session)
    assert stored(store, session.session_key) == {"a": 2}


# A session that has ended


def end_by_flushing(store, key):
    store(key).flush()


def end_by_deleting(store, key):
    store(key).delete()


def end_by_another_key(store, key):
    store(key).cycle_key()


@pytest.mark.parametrize("end", [end_by_flushing, end_by_deleting, end_by_another_key])
def test_what_has_ended_is_not_revived(store, key, socket, save, end):
    end(store, key)
    socket["last_room"] = "lobby"
    with pytest.raises(SessionEnded, match="has ended since it was loaded") as ended:
        save(socket)
    assert isinstance(ended.value, UpdateError)
    assert isinstance(ended.value, ChannelsError)
    assert stored(store, key) == {}
    with pytest.raises(SessionEnded):
        socket.cycle_key()
    assert stored(store, key) == {}


def test_what_has_expired_is_not_revived(store, key, socket, save):
    expired = store(key)
    expired.set_expiry(-10)
    expired.save()
    socket["last_room"] = "lobby"
    with pytest.raises(SessionEnded):
        save(socket)
    assert stored(store, key) == {}


@pytest.mark.parametrize("engine", ["db", "cached_db"])
def test_a_row_that_has_expired_is_not_revived(engine, settings):
    settings.SESSION_ENGINE = f"django.contrib.sessions.backends.{engine}"
    session = store_of(engine)()
    session["role"] = "admin"
    session.save()
    socket = connect(session.session_key)
    assert socket["role"] == "admin"
    Session.objects.update(expire_date=timezone.now() - timezone.timedelta(seconds=1))
    cache.clear()
    socket["last_room"] = "lobby"
    with pytest.raises(SessionEnded):
        socket.save()
    assert not Session.objects.filter(expire_date__gt=timezone.now()).exists()


class Vanishing(DatabaseStore):
    """Whose row is deleted between the last look at it and the saving."""

    def save(self, must_create=False):
        raise UpdateError

    async def asave(self, must_create=False):
        raise UpdateError


@pytest.mark.parametrize("way", ["save", "asave"])
def test_what_ends_while_it_is_saved_has_ended(way):
    session = merging(Vanishing)()
    with pytest.raises(SessionEnded) as caught:
        session.save() if way == "save" else async_to_sync(session.asave)()
    assert isinstance(caught.value.__cause__, UpdateError)


def test_after_flush_a_new_session_begins(store, key, socket, save):
    end_by_deleting(store, key)
    socket.flush()
    socket["fresh"] = True
    save(socket)
    assert socket.session_key != key
    assert stored(store, socket.session_key) == {"fresh": True}


@pytest.mark.parametrize("cycle", ["cycle_key", "acycle_key"])
def test_another_key_takes_along_what_others_changed(store, key, socket, cycle):
    elsewhere(store, key, role="guest")
    socket["ours"] = 1
    if cycle == "cycle_key":
        socket.cycle_key()
    else:
        async_to_sync(socket.acycle_key)()
    socket.save()
    assert socket.session_key != key
    assert stored(store, socket.session_key)["role"] == "guest"
    assert stored(store, socket.session_key)["ours"] == 1
    assert stored(store, key) == {}


def test_a_request_whose_session_ended_is_interrupted_as_in_django(store, key):
    class Ending:
        async def __call__(self, scope, receive, send):
            await scope["session"].aset("a", 1)
            await scope["session"].__class__(key).aflush()
            await send({"type": "http.response.start", "status": 200, "headers": []})

    sent = []

    async def send(message):
        sent.append(message)

    headers = [(b"cookie", f"sessionid={key}".encode())]
    scope = {"type": "http", "headers": headers, "asgi": {}}
    async_to_sync(SessionMiddlewareStack(Ending()))(scope, None, send)
    assert sent[0]["status"] == 400
    assert stored(store, key) == {}


# Signing in and out


@pytest.fixture
def alice():
    return get_user_model().objects.create_user("alice", password="x")


@pytest.fixture
def signed_in(store, alice):
    """The session key of a browser in which alice has signed in."""
    client = Client()
    client.force_login(alice)
    return client.session.session_key


def test_a_sign_out_elsewhere_is_not_undone(store, signed_in, alice, save):
    scope = scope_of(signed_in, AuthMiddlewareStack)
    assert scope["user"] == alice
    end_by_flushing(store, signed_in)
    scope["session"]["last_room"] = "lobby"
    with pytest.raises(SessionEnded):
        save(scope["session"])
    assert stored(store, signed_in) == {}
    assert async_to_sync(get_user)(scope) == AnonymousUser()


def test_signing_in_where_the_session_has_ended_begins_a_new_one(store, signed_in, alice, save):
    scope = scope_of(signed_in, AuthMiddlewareStack)
    scope["session"]["secret"] = "of the old session"
    end_by_flushing(store, signed_in)
    async_to_sync(login)(scope, alice)
    save(scope["session"])
    assert scope["session"].session_key != signed_in
    assert "secret" not in stored(store, scope["session"].session_key)
    again = scope_of(scope["session"].session_key, AuthMiddlewareStack)
    assert again["user"] == alice
    assert stored(store, signed_in) == {}


def test_signing_in_keeps_what_others_put_into_the_anonymous_session(store, key, alice, save):
    scope = scope_of(key, AuthMiddlewareStack)
    assert scope["session"]["role"] == "admin"
    elsewhere(store, key, cart={"apples": 9})
    async_to_sync(login)(scope, alice)
    save(scope["session"])
    assert stored(store, scope["session"].session_key)["cart"] == {"apples": 9}
    assert stored(store, key) == {}


def test_signing_out_ends_it_for_all(store, signed_in, alice):
    one, other = (scope_of(signed_in, AuthMiddlewareStack) for _ in range(2))
    async_to_sync(logout)(one)
    other["session"]["a"] = 1
    with pytest.raises(SessionEnded):
        other["session"].save()
    assert stored(store, signed_in) == {}


# What cannot be known


def test_signed_cookies_have_no_state_but_their_own(settings):
    """Nothing is shared, so nothing that others did can be seen; saving makes a new value."""
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session = store_of("signed_cookies")()
    session["role"] = "admin"
    session.save()
    socket = connect(session.session_key)
    socket["a"] = 1
    socket.save()
    assert stored(store_of("signed_cookies"), socket.session_key) == {"role": "admin", "a": 1}


def test_signed_cookies_that_have_expired_are_not_revived(settings):
    settings.SESSION_ENGINE = "django.contrib.sessions.backends.signed_cookies"
    session = store_of("signed_cookies")()
    session["role"] = "admin"
    session.save()
    socket = connect(session.session_key)
    assert socket["role"] == "admin"
    settings.SESSION_COOKIE_AGE = -1
    socket["a"] = 1
    with pytest.raises(SessionEnded):
        socket.save()


class OwnEncoding(DatabaseStore):
    """Stores what its serializer cannot."""

    def encode(self, session_dict):
        return super().encode({key: sorted(value) for key, value in session_dict.items()})

    def decode(self, session_data):
        return {key: set(value) for key, value in super().decode(session_data).items()}


def test_a_value_that_the_serializer_does_not_know_counts_as_changed():
    session = merging(OwnEncoding)()
    session["a"] = {1, 2}
    session.save()
    again = merging(OwnEncoding)(session.session_key)
    again["a"].add(3)
    again.save()
    assert OwnEncoding(session.session_key)["a"] == {1, 2, 3}


# The class


def test_the_session_is_one_of_the_projects_class(key, store, socket):
    assert isinstance(socket, store)
    assert type(socket._wrapped).__name__ == store.__name__
    assert socket.serializer is JSONSerializer
    wrapper = InstanceSessionWrapper({"type": "websocket", "cookies": {}}, None)
    assert wrapper.session_store is store


def test_there_is_one_class_for_each_store_and_it_keeps_none_alive():
    class Store(DatabaseStore):
        pass

    assert merging(Store) is merging(Store)
    assert merging(Store) is not merging(DatabaseStore)
    assert merging(merging(Store)) is merging(Store)
    kept = weakref.ref(Store)
    del Store
    gc.collect()
    assert kept() is None

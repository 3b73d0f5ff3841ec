"""Whose connection it is, found without loading anything."""

from types import SimpleNamespace

from django.contrib.auth.models import AnonymousUser
from django.contrib.sessions.backends.cache import SessionStore
from django.utils.functional import SimpleLazyObject

from channels._runtime.identity import session_key_of, session_of, user_id_of
from channels.auth import UserLazyObject

ANNA = SimpleNamespace(pk=7, is_authenticated=True)


def never():
    raise AssertionError("loaded")


def test_a_user_who_is_signed_in():
    lazy = UserLazyObject()
    lazy._wrapped = ANNA
    assert user_id_of({"user": ANNA}) == user_id_of({"user": lazy}) == "7"


def test_nobody():
    assert user_id_of({}) is None
    assert user_id_of({"user": AnonymousUser()}) is None
    assert user_id_of({"user": SimpleNamespace(is_authenticated=True)}) is None
    assert user_id_of({"user": SimpleNamespace(pk=7)}) is None


def test_a_lazy_user_is_not_loaded_but_a_loaded_session_knows_the_user():
    session = SessionStore("a-long-key")
    scope = {"user": SimpleLazyObject(never), "session": session}
    assert user_id_of(scope) is None
    session._session_cache = {"_auth_user_id": "7"}
    assert user_id_of(scope) == "7"


def test_the_session_and_its_key():
    assert session_of({}) is session_key_of({}) is None
    assert session_of({"session": SimpleLazyObject(never)}) is None
    session = SessionStore("a-long-key")
    lazy = SimpleLazyObject(lambda: session)
    assert lazy.session_key == "a-long-key"
    assert session_of({"session": lazy}) is session
    assert session_key_of({"session": lazy}) == "a-long-key"

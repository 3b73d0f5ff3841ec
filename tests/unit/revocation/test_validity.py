"""Whether users may go on, where that cannot be asked or is nobody's to say."""

import logging
from types import SimpleNamespace

from django.contrib.auth import SESSION_KEY
from django.contrib.sessions.backends.db import SessionStore

from channels._runtime.scopes import CREDENTIAL
from channels.revocation import validity


def connection(**scope):
    return SimpleNamespace(scope=scope, consumer=SimpleNamespace())


async def test_a_user_that_is_no_row_of_the_database_may_go_on():
    robot = SimpleNamespace(pk=7, is_authenticated=True)
    assert await validity.refused([connection(user=robot)]) == {}


async def test_a_session_that_cannot_be_asked_for_has_not_vanished(caplog):
    def fail(key):
        raise OSError("the store is away")

    session = SimpleNamespace(session_key="a-key", exists=fail)
    gone = SimpleNamespace(session_key="another", exists=lambda key: False)
    ended = connection(session=gone)
    with caplog.at_level(logging.WARNING, "channels.revocation"):
        assert await validity.vanished([connection(session=session), ended]) == [ended]
    assert "cannot be found out (OSError: the store is away)" in caplog.text


def test_a_token_says_who_it_is_whatever_cookie_came_with_it():
    session = SessionStore()
    session._session_cache = {SESSION_KEY: "7"}
    user = SimpleNamespace(pk=7, is_authenticated=True)
    by_cookie = connection(session=session, user=user)
    credential = SimpleNamespace(by_session=False)
    by_token = connection(session=session, user=user, **{CREDENTIAL: credential})
    for ask in (validity.is_signed_in_by_session, validity.ends_with_its_session):
        assert (ask(by_cookie), ask(by_token)) == (True, False)

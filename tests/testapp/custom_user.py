"""Run by tests/unit/test_auth.py in a process of its own, where Member is the user model."""

import pytest
from asgiref.sync import async_to_sync
from django.contrib.auth import HASH_SESSION_KEY, SESSION_KEY
from django.contrib.auth.models import AnonymousUser

from channels.auth import AuthMiddlewareStack, get_user, login, logout
from channels.db import database_sync_to_async
from channels.generic.websocket import AsyncWebsocketConsumer
from tests.asgi import Server, until

from .models import Member

pytestmark = pytest.mark.django_db


def connect(key=None):
    found = []

    async def application(scope, receive, send):
        found.append(scope)

    headers = [(b"cookie", b"sessionid=" + key.encode())] if key else []
    scope = {"type": "websocket", "headers": headers}
    async_to_sync(AuthMiddlewareStack(application))(scope, None, None)
    return found[0]


def test_a_user_without_a_session_hash_signs_in_stays_and_signs_out():
    member = Member.objects.create(name="alice")
    scope = connect()
    async_to_sync(login)(scope, member)
    scope["session"].save()
    assert scope["session"][SESSION_KEY] == str(member.pk)
    assert scope["session"][HASH_SESSION_KEY] == ""
    key = scope["session"].session_key
    again = connect(key)
    assert again["user"] == member
    async_to_sync(login)(again, member)
    assert again["session"].session_key == key
    async_to_sync(logout)(again)
    assert connect(key)["user"] == AnonymousUser()


def test_another_user_gets_an_empty_session():
    alice, bob = Member.objects.create(name="alice"), Member.objects.create(name="bob")
    scope = connect()
    async_to_sync(login)(scope, alice)
    scope["session"]["mine"] = True
    async_to_sync(login)(scope, bob)
    assert "mine" not in scope["session"]
    assert async_to_sync(get_user)(scope) == bob


@pytest.mark.django_db(transaction=True)
async def test_a_user_with_a_uuid_for_a_key_is_disconnected_when_deleted():
    alice, bob = [await Member.objects.acreate(name=name) for name in ("alice", "bob")]
    servers = [await begin(member) for member in (alice, bob)]
    await alice.adelete()
    await until(lambda: servers[0].sent[-1]["type"] == "websocket.close")
    assert servers[0].sent[-1]["reason"] == "the user is gone or not active"
    assert servers[1].types() == ["websocket.accept"]
    for server in servers:
        await server.leave()


async def begin(member):
    """A connection of this member's session."""
    scope = await database_sync_to_async(connect)()
    await login(scope, member)
    await scope["session"].asave()
    key = scope["session"].session_key.encode()
    application = AuthMiddlewareStack(AsyncWebsocketConsumer.as_asgi())
    return await Server(application, headers=[(b"cookie", b"sessionid=" + key)]).connect()

"""Disconnecting by hand, in this process."""

import asyncio
import threading
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.contrib.auth.models import Permission
from django.utils.functional import SimpleLazyObject

from channels import revocation
from channels._runtime.connections import connections
from channels._runtime.scopes import CREDENTIAL
from channels.control import ask
from channels.exceptions import InvalidArgument, InvalidChannelLayerError, InvalidNameError
from channels.generic.sse import AsyncSseConsumer
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.revocation.disconnecting import COMMAND
from channels.security.tokens import Identity
from channels.security.tokens.verifying import TokenCredential
from tests.asgi import Server, until


@pytest.fixture(autouse=True)
def layer():
    layer = InMemoryChannelLayer()
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)


class Chat(AsyncWebsocketConsumer):
    groups = ("room",)


ANNA = SimpleNamespace(pk=7, is_authenticated=True)
SESSION = SimpleNamespace(session_key="a-long-key")
TOKEN = Identity(ANNA, token_id="7")


async def connect(**scope):
    return await Server(Chat.as_asgi(), **scope).connect()


async def closed(server, code=4401):
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    assert server.sent[-1]["code"] == code
    await server.leave()


@pytest.mark.parametrize("by", ["user", "session", "token", "channel"])
@pytest.mark.parametrize("plain", [True, False])
async def test_those_that_are_meant(by, plain):
    mine = {"user": ANNA, "session": SESSION, CREDENTIAL: TokenCredential(TOKEN, ())}
    server, other = await connect(**mine), await connect()
    [found] = [c for c in connections.get().open if "user" in c.scope]
    values = {"user": ANNA, "session": "a-long-key", "token": 7, "channel": found.channel_name}
    value = values[by]
    if plain:
        await asyncio.to_thread(getattr(revocation, f"disconnect_{by}"), value, code=4000)
    else:
        await getattr(revocation, f"adisconnect_{by}")(value, code=4000)
    await closed(server, 4000)
    assert other.types() == ["websocket.accept"]
    await other.leave()


@pytest.mark.parametrize("plain", [True, False])
async def test_a_group(plain):
    server = await connect()
    events = Server(
        type("Events", (AsyncSseConsumer,), {"groups": ("room",)}).as_asgi(), "http", method="GET"
    )
    events.put("http.request")
    events.start()
    await until(lambda: len(events.sent) == 2)
    if plain:
        await asyncio.to_thread(revocation.disconnect_group, "room", reason="closed")
    else:
        await revocation.adisconnect_group("room", reason="closed")
    await closed(server)
    assert server.sent[-1]["reason"] == "closed"
    await events.ended()


async def test_a_group_of_no_layer():
    with pytest.raises(InvalidChannelLayerError):
        await revocation.adisconnect_group("room", alias="missing")


async def test_all_and_how_many():
    servers = [await connect() for _ in range(2)]
    answers = await asyncio.to_thread(ask, COMMAND, 1, by="all", value=None, code=4401, reason="")
    assert [found["answer"] for found in answers] == [2]
    for server in servers:
        await closed(server)


NOBODY = SimpleNamespace(pk=None, is_authenticated=False)

WRONG = [
    *(
        ("user", value, "user must be a user, such as")
        for value in (None, "", True, 1.5, [1], b"1")
    ),
    ("user", NOBODY, "has no primary key"),
    ("user", get_user_model()(), "has no primary key"),
    ("user", get_user_model(), "a row of your user model"),
    ("user", Permission(pk=7), "write the user that it belongs to"),
    *(("session", value, "request.session.session_key") for value in (None, "", 7, SESSION)),
    *(("token", value, "token_id must be text") for value in (None, "", True, TOKEN)),
    *(("channel", value, "channel_name must be text") for value in (None, "", 7)),
    *(("group", value, "Group name must be") for value in (None, "", 7, "with a space")),
]


@pytest.mark.parametrize(("by", "value", "told"), WRONG)
async def test_what_nothing_can_be_connected_as_is_refused(by, value, told):
    expected = InvalidNameError if by == "group" else InvalidArgument
    with pytest.raises(expected, match=told):
        await getattr(revocation, f"adisconnect_{by}")(value)
    with pytest.raises(expected, match=told):
        await asyncio.to_thread(getattr(revocation, f"disconnect_{by}"), value)


@pytest.mark.parametrize("by", ["user", "session", "token", "channel", "group"])
@pytest.mark.parametrize("told", [{"code": 1006}, {"reason": "x" * 124}])
async def test_what_clients_cannot_be_told_is_refused(by, told):
    with pytest.raises(InvalidArgument):
        await getattr(revocation, f"adisconnect_{by}")("7", **told)
    with pytest.raises(InvalidArgument):
        await asyncio.to_thread(getattr(revocation, f"disconnect_{by}"), "7", **told)


async def test_a_lazy_user_is_loaded_in_a_thread():
    server = await connect(user=ANNA)
    threads = []

    def load():
        threads.append(threading.current_thread())
        return ANNA

    await revocation.adisconnect_user(SimpleLazyObject(load))
    await closed(server)
    assert threads != [threading.current_thread()]
    with pytest.raises(InvalidArgument, match="has no primary key"):
        await revocation.adisconnect_user(SimpleLazyObject(lambda: NOBODY))

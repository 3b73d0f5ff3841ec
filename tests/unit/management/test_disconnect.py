"""``manage.py channels_disconnect``, which asks the process of the test over a real broker."""

import asyncio
import io
import uuid
from argparse import ArgumentTypeError
from types import SimpleNamespace

import pytest
from django.contrib.auth import get_user_model
from django.core.management import call_command
from django.core.management.base import CommandError

from channels._runtime.scopes import CREDENTIAL
from channels.control.plane import planes
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.redis import RedisChannelLayer
from channels.management.commands import channels_disconnect
from channels.security.tokens import Identity
from channels.security.tokens.verifying import TokenCredential
from tests.asgi import Server, until
from tests.brokers import running


class Chat(AsyncWebsocketConsumer):
    groups = ("room",)


class Terminal(io.StringIO):
    def text(self):
        return self.getvalue().strip()


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def layer(broker):
    layer = RedisChannelLayer(hosts=[broker.url], prefix=uuid.uuid4().hex)
    former = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", former)
    await layer.aclose()


async def run(*arguments):
    printed = Terminal()
    command = ("channels_disconnect", "--timeout=0.2", *arguments)
    await asyncio.to_thread(call_command, *command, stdout=printed)
    return printed.text()


async def connect(layer, **scope):
    server = await Server(Chat.as_asgi(), **scope).connect()
    await asyncio.wait_for(planes.get().listens.wait(), 5)
    return server


async def closed(server):
    await until(lambda: server.sent[-1]["type"] == "websocket.close")
    close = server.sent[-1]
    await server.leave()
    return close["code"], close.get("reason", "")


async def test_a_session(layer):
    session = SimpleNamespace(session_key="a-long-key")
    mine, other = await connect(layer, session=session), await connect(layer)
    said = await run("--session", "a-long-key", "--code=4000", "--reason", "go away")
    assert said == "1 connection ends; 1 process has answered"
    assert await closed(mine) == (4000, "go away")
    assert other.types() == ["websocket.accept"]
    await other.leave()


async def test_a_token(layer):
    credential = TokenCredential(Identity(None, token_id="a-jti"), ())
    mine, other = await connect(layer, **{CREDENTIAL: credential}), await connect(layer)
    said = await run("--token-id", "a-jti")
    assert said == "1 connection ends; 1 process has answered"
    assert await closed(mine) == (4401, "")
    assert other.types() == ["websocket.accept"]
    await other.leave()


async def test_a_channel_of_nobody(layer):
    server = await connect(layer)
    said = await run("--channel", "specific.unknown!one")
    assert said == "0 connections end; 1 process has answered"
    await server.leave()


async def test_a_group_and_how_many_of_it_are_connections(layer):
    servers = [await connect(layer) for _ in range(2)]
    assert await run("--group", "room") == "The group was told; 2 connections end"
    assert [await closed(server) for server in servers] == [(4401, "")] * 2


class Foreign:
    """A layer of others, in front of one of ours."""

    extensions = ("groups",)

    def __init__(self, layer):
        self.layer = layer

    def __getattr__(self, name):
        if name.startswith(("new_channel", "send", "receive", "group_")):
            return getattr(self.layer, name)
        raise AttributeError(name)


async def test_a_group_of_a_layer_that_does_not_tell_its_members(layer):
    former = channel_layers.set("other", Foreign(layer))
    try:
        said = await run("--group", "room", "--layer", "other")
    finally:
        channel_layers.set("other", former)
    assert said == "The group was told; this layer does not tell how many"


async def test_groups_of_layers_that_reach_no_other_process(layer):
    with pytest.raises(CommandError, match="CHANNEL_LAYERS has no layer 'missing'; write one"):
        await run("--group", "room", "--layer", "missing")
    former = channel_layers.set("memory", InMemoryChannelLayer())
    try:
        with pytest.raises(CommandError, match="The layer 'memory' has no groups that reach other"):
            await run("--group", "room", "--layer", "memory")
    finally:
        channel_layers.set("memory", former)


async def test_a_name_that_no_group_can_have(layer):
    with pytest.raises(CommandError, match=r"^Group name must be .* Got 'the room'"):
        await run("--group", "the room")


async def test_nobody_answers(layer):
    with pytest.raises(CommandError, match=r"No process has answered within 0\.2 s"):
        await run("--channel", "specific.unknown!one")


async def test_the_broker_is_away():
    layer = RedisChannelLayer(hosts=[("127.0.0.1", 1)])
    former = channel_layers.set("default", layer)
    with pytest.raises(CommandError, match="The channel layer cannot be reached"):
        await run("--session", "a-long-key")
    channel_layers.set("default", former)
    await layer.aclose()


def test_a_layer_in_memory_is_not_that_of_the_server():
    with pytest.raises(CommandError, match="cannot be ended from here"):
        call_command("channels_disconnect", "--channel", "specific.unknown!one")


@pytest.mark.django_db(transaction=True)
@pytest.mark.parametrize("by_name", [True, False])
async def test_a_user(layer, by_name):
    user = await get_user_model().objects.acreate_user("anna")
    server = await connect(layer, user=user)
    said = await run("--user", "anna" if by_name else str(user.pk))
    assert said == "1 connection ends; 1 process has answered"
    assert (await closed(server))[0] == 4401


@pytest.mark.django_db(transaction=True)
async def test_a_user_that_was_deleted_is_still_found(layer):
    server = await connect(layer, user=SimpleNamespace(pk=99, is_authenticated=True))
    said = await run("--user", "99")
    assert said.startswith("No user has the name or primary key '99' now")
    assert said.endswith("1 connection ends; 1 process has answered")
    await closed(server)


@pytest.mark.django_db
class TestWhichUser:
    def key(self, text):
        return channels_disconnect.Command(stdout=Terminal())._primary_key(text)

    def test_nobody(self):
        with pytest.raises(CommandError, match="No user has the name 'anna', and it is no primary"):
            self.key("anna")

    def test_a_name_that_is_the_key_of_somebody_else(self):
        anna = get_user_model().objects.create_user("anna")
        get_user_model().objects.create_user(str(anna.pk))
        with pytest.raises(CommandError, match="and the primary key of 'anna': write the name"):
            self.key(str(anna.pk))

    def test_without_djangos_users_it_is_a_key(self, settings):
        settings.INSTALLED_APPS = ["channels"]
        assert self.key("seven") == "seven"


@pytest.mark.parametrize(
    ("option", "text", "message"),
    [
        ("_code", "99", "is no close code"),
        ("_code", "1006", "is no close code"),
        ("_code", "five", "is no close code"),
        ("_reason", "ä" * 62, "at most 123 bytes"),
        ("_seconds", "x", "is no number of seconds"),
        ("_seconds", "1e9", "is no number of seconds"),
    ],
)
def test_what_is_no_option(option, text, message):
    with pytest.raises(ArgumentTypeError, match=message):
        getattr(channels_disconnect, option)(text)


@pytest.mark.parametrize("arguments", [(), ("--user", "anna", "--group", "room")])
def test_one_of_them_must_be_named(arguments):
    with pytest.raises(CommandError):
        call_command("channels_disconnect", *arguments)

"""A master that is made a replica without a word: it closes no connection, and publishes on."""

import asyncio
import contextlib
import uuid

import pytest

from channels.exceptions import BrokerUnavailable
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis.connection import commands as commands_module
from channels.layers.redis.pubsub import subscription as subscription_module
from channels.layers.redis.streams import inbox as inbox_module

from ..asgi import until
from ..brokers import find_servers, running
from ..faults.harness import Room, Sender
from ..proxy import Proxy

pytestmark = pytest.mark.server

LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]
NOWHERE = ("127.0.0.1", "1")


@pytest.fixture(params=sorted(find_servers()))
def pair(request):
    """Two servers that know nothing of each other."""
    with running(request.param) as old, running(request.param) as new:
        yield old, new


@pytest.fixture
async def layers():
    made = []

    def make(layer_class, address, **options):
        options = {"prefix": "demoted", "capacity": 100_000, **options}
        made.append(layer_class([address], **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@contextlib.asynccontextmanager
async def name_of(broker):
    """What leads to the master, as a name in the DNS does: connections stay where they are."""
    async with Proxy(broker.address) as proxy:
        yield proxy


@pytest.mark.parametrize("layer_class", LAYERS)
async def test_what_is_sent_to_a_demoted_master_goes_to_the_new_one(pair, layers, layer_class):
    old, new = pair
    async with name_of(old) as name, name_of(new) as elsewhere:
        there, here = layers(layer_class, name.address), layers(layer_class, elsewhere.address)
        async with Room(here) as room:
            sender, direct = Sender(there), Sender(there, channel=room.channels[0])
            await there.group_send("somewhere", {"type": "news"})  # it has a connection to the old
            old.cli("REPLICAOF", *NOWHERE)
            name.target = new.address
            sent = [await each.send_one() for _ in range(5) for each in (sender, direct)]
            for message in sent[::2]:
                await room.hears(message)
            await until(lambda: room.heard()[0] == sent)
            assert room.gaps() == [0, 0, 0]
            assert not sender.errors + direct.errors
            assert not there.statistics.dropped


@pytest.mark.parametrize("layer_class", LAYERS)
async def test_those_who_listened_to_a_demoted_master_are_told(
    pair, layers, layer_class, monkeypatch
):
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.4)
    monkeypatch.setattr(subscription_module, "PING_EVERY", 0.2)
    monkeypatch.setattr(subscription_module, "PROBE_EVERY", 0.4)
    old, new = pair
    async with name_of(old) as name:
        here, there = layers(layer_class, name.address), layers(layer_class, new.address)
        async with Room(here) as room:
            await room.hears(await Sender(here).send_one())
            old.cli("REPLICAOF", *NOWHERE)
            name.target = new.address
            await until(lambda: room.gaps() == [1, 1, 1])
            await room.hears(await Sender(there).send_one())
            await room.hears(await Sender(here).send_one())
            assert room.gaps() == [1, 1, 1]
            assert room.connected


@pytest.mark.parametrize("layer_class", LAYERS)
async def test_a_master_that_stays_a_replica_is_an_error(pair, layers, layer_class, monkeypatch):
    monkeypatch.setattr(commands_module, "PATIENCE", 0.5)
    monkeypatch.setattr(
        commands_module.CommandConnection.__init__, "__kwdefaults__", {"patience": 0.5}
    )
    old, _ = pair
    layer = layers(layer_class, old.address)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    old.cli("REPLICAOF", *NOWHERE)
    for sending in (
        layer.group_send("group", {"type": "news"}),
        layer.send(f"specific.{uuid.uuid4().hex}!x", {"type": "news"}),
        layer.send("queue", {"type": "news"}),
    ):
        with pytest.raises(BrokerUnavailable, match="read only replica"):
            await asyncio.wait_for(sending, 10)
    old.cli("REPLICAOF", "NO", "ONE")
    await layer.group_send("group", {"type": "after"})
    assert await asyncio.wait_for(layer.receive(channel), 10) == {"type": "after"}
    assert not layer.statistics.dropped

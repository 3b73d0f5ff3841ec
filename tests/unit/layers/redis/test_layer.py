"""What projects override and call on both layers: their own encoding, and a client of redis-py."""

import asyncio
import json
import random
import zlib

import pytest
from redis import exceptions as redis_errors
from redis.asyncio import Redis

from channels import signals
from channels.exceptions import SerializationError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis.layer import RedisLayer
from channels_redis.utils import create_pool, decode_hosts

from ....asgi import until

LAYERS = [RedisChannelLayer, RedisPubSubChannelLayer]


class Packed:
    """A project's own format: JSON, compressed, with a mark in front."""

    def serialize(self, message):
        return b"Z" + zlib.compress(json.dumps(message).encode())

    def deserialize(self, message):
        if message[:1] != b"Z":
            raise KeyError("not ours")
        return json.loads(zlib.decompress(message[1:]))


class PackedStreams(Packed, RedisChannelLayer):
    pass


class PackedPubSub(Packed, RedisPubSubChannelLayer):
    pass


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(kind, **options):
        made.append(kind(**{"hosts": [shared_broker.address], "prefix": prefix, **options}))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


@pytest.fixture
def dropped():
    found = []

    def receiver(reason, **kwargs):
        found.append(reason)

    signals.message_dropped.connect(receiver)
    yield found
    signals.message_dropped.disconnect(receiver)


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


@pytest.mark.parametrize("kind", [PackedStreams, PackedPubSub])
async def test_an_own_format_is_used_for_every_way_of_a_message(make, kind):
    one, other = make(kind), make(kind)
    mine, theirs = await one.new_channel(), await other.new_channel()
    await one.group_add("group", mine)
    await other.group_add("group", theirs)
    await one.group_add("group", "queue")
    await one.send(mine, {"type": "to.me"})
    await one.send(theirs, {"type": "to.them"})
    await one.send("queue", {"type": "to.queue"})
    assert await receive(one, mine) == {"type": "to.me"}
    assert await receive(other, theirs) == {"type": "to.them"}
    assert await receive(other, "queue") == {"type": "to.queue"}
    await other.group_send("group", {"type": "to.all"})
    assert await receive(one, mine) == {"type": "to.all"}
    assert await receive(other, theirs) == {"type": "to.all"}
    assert await receive(one, "queue") == {"type": "to.all"}


@pytest.mark.parametrize(("own", "plain"), [(PackedStreams, LAYERS[0]), (PackedPubSub, LAYERS[1])])
async def test_what_an_own_format_cannot_read_is_counted_and_kills_nothing(
    make, own, plain, dropped
):
    reader, stranger = make(own), make(plain)
    channel = await reader.new_channel()
    await stranger.send(channel, {"type": "strange"})
    await stranger.send("queue", {"type": "strange"})
    await reader.send(channel, {"type": "known"})
    await reader.send("queue", {"type": "known"})
    assert await receive(reader, channel) == {"type": "known"}
    assert await receive(reader, "queue") == {"type": "known"}
    await until(lambda: dropped == ["undecodable"] * 2)


@pytest.mark.parametrize("kind", LAYERS)
async def test_a_format_returns_bytes(make, kind):
    class Given(kind):
        def serialize(self, message):
            return message["as"]

    layer = make(Given)
    channel = await layer.new_channel()
    for wrong in ("text", None, {"type": "x"}):
        with pytest.raises(SerializationError, match=r"Given\.serialize\(\) must return bytes"):
            await layer.send(channel, {"type": "x", "as": wrong})
    data = layer.serializer.serialize({"type": "x"})
    for good in (data, bytearray(data), memoryview(data)):
        await layer.send(channel, {"type": "y", "as": good})
        assert await receive(layer, channel) == {"type": "x"}


@pytest.mark.parametrize("kind", LAYERS)
@pytest.mark.parametrize("length", [12, 0, -1])
async def test_any_length_of_the_random_prefix_is_accepted(make, kind, length):
    layer = make(kind, random_prefix_length=length)
    channel = await layer.new_channel()
    await layer.send(channel, {"type": "x"})
    assert await receive(layer, channel) == {"type": "x"}


@pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_every_object_is_a_process_of_its_own_whatever_the_random_seed(layer_class):
    prefixes = set()
    for _ in range(100):
        random.seed(7)
        prefixes.add(layer_class().client_prefix)
    assert len(prefixes) == 100


# A client


@pytest.mark.parametrize("kind", LAYERS)
async def test_a_connection_is_a_client_that_is_closed_at_the_end(make, kind, prefix, redis):
    layer = make(kind)
    assert layer.ring_size == 1
    before = redis.info("clients")["connected_clients"]
    async with layer.connection(layer.consistent_hash("any")) as client:
        assert await client.set(f"{prefix}:own", "value")
        assert await client.get(f"{prefix}:own") == b"value"
        assert await client.hgetall(f"{prefix}:none") == {}
        await asyncio.gather(*(client.ping() for _ in range(10)))
        async with client.pipeline() as pipeline:
            pipeline.delete(f"{prefix}:own").exists(f"{prefix}:own")
            assert await pipeline.execute() == [1, 0]
        assert redis.info("clients")["connected_clients"] > before
    await until(lambda: redis.info("clients")["connected_clients"] == before)


async def test_a_client_connects_anew_when_its_connection_was_broken(make, redis):
    async with make(RedisChannelLayer).connection(0) as client:
        number = await client.client_id()
        redis.client_kill_filter(_id=str(number))
        with pytest.raises(redis_errors.ConnectionError):
            for _ in range(3):
                await client.ping()
        assert await client.ping()
        assert await client.client_id() != number


def test_each_event_loop_can_have_a_client(shared_broker, prefix):
    layer = RedisChannelLayer(hosts=[shared_broker.address], prefix=prefix)

    async def ping():
        async with layer.connection(0) as client:
            return await client.ping()

    assert [asyncio.run(ping()) for _ in range(2)] == [True, True]


@pytest.mark.parametrize("index", [-1, 2])
async def test_a_server_that_is_not_there_is_named(index):
    layer = RedisChannelLayer(hosts=[("a", 1), ("b", 2)])
    with pytest.raises(ValueError, match=f"There are only 2 hosts - you asked for {index}!"):
        layer.connection(index)


# Hosts


def test_hosts_are_taken_apart_as_they_always_were():
    sentinels = {"sentinels": [("s", 1)], "master_name": "m"}
    assert decode_hosts(None) == decode_hosts([]) == [{"address": "redis://localhost:6379"}]
    assert decode_hosts([("h", 1), ["i", 2]]) == [
        {"host": "h", "port": 1},
        {"host": "i", "port": 2},
    ]
    assert decode_hosts(["redis://h", sentinels]) == [{"address": "redis://h"}, sentinels]
    assert RedisChannelLayer(hosts=[("h", 1)]).hosts == [{"host": "h", "port": 1}]
    for wrong in ("redis://h", b"redis://h", {"host": "h"}, 5, [5]):
        with pytest.raises(ValueError, match=r"hosts"):
            decode_hosts(wrong)


async def test_pools_lead_where_the_entries_say(shared_broker):
    host, port = shared_broker.address
    entries = [(host, port), f"redis://{host}:{port}", {"address": (host, port)}]
    for entry in decode_hosts(entries):
        pool = create_pool(entry)
        assert await Redis(connection_pool=pool).ping()
        await pool.disconnect()
    pool = create_pool({"sentinels": [("s", 1)], "master_name": "m", "db": 3})
    assert pool.service_name == "m"


def test_a_layer_over_redis_says_what_carries_its_messages(prefix):
    with pytest.raises(NotImplementedError):
        RedisLayer(None, prefix=prefix)

"""What the Redis layers do with encrypted messages: each is for one destination."""

import asyncio
import contextlib

import pytest

from channels.layers.broker import sealing
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.statistics import EXPIRED, UNDECODABLE

KEYS = ["a key"]


@pytest.fixture
def clock(monkeypatch):
    """The machine's clock, which tests set."""

    class Clock:
        now = 1_800_000_000.0

    monkeypatch.setattr(sealing, "wall", lambda: Clock.now)
    return Clock


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(layer_class, **options):
        options = {"symmetric_encryption_keys": KEYS, "prefix": prefix, **options}
        made.append(layer_class(hosts=[shared_broker.address], **options))
        return made[-1]

    yield make
    for layer in made:
        await layer.aclose()


both_layers = pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])


class Eavesdropper:
    """Somebody who reads and writes what is at the broker, without the keys."""

    def __init__(self, redis, layer, base):
        self.redis, self.layer, self.base = redis, layer, base
        self.streams = isinstance(layer, RedisChannelLayer)
        self.hears = None

    def listen(self, *groups):
        if self.streams:
            self.redis.xadd(f"{self.base}:inbox:hangs", {"h": ""})
            for group in groups:
                self.redis.zadd(f"{self.base}:group:{group}", {"p:hangs": 1e15})
        else:
            self.hears = self.redis.pubsub(ignore_subscribe_messages=True)
            topics = [f"{self.base}:group:{group}" for group in groups]
            process = f"{self.base}:process:{self.layer.client_prefix}"
            self.hears.subscribe(*topics, process)
            for _ in (*topics, process):
                self.hears.get_message(timeout=10)

    def heard(self):
        """The last message to a group."""
        if self.streams:
            _, fields = self.redis.xrevrange(f"{self.base}:inbox:hangs", count=1)[0]
            return next(iter(fields.values()))
        last = None
        while (message := self.hears.get_message(timeout=1)) is not None:
            last = message["data"]
        return last

    def send_to_group(self, group, data):
        if self.streams:
            self.redis.xadd(f"{self.base}:inbox:{self.layer.client_prefix}", {f"g{group}": data})
        else:
            self.redis.publish(f"{self.base}:group:{group}", data)

    def send_to_channel(self, channel, data):
        if self.streams:
            self.redis.xadd(f"{self.base}:inbox:{self.layer.client_prefix}", {f"c{channel}": data})
        else:
            topic = f"{self.base}:process:{self.layer.client_prefix}"
            self.redis.publish(topic, b"c" + channel.encode() + b" " + data)


async def dropped(layer, reason, count):
    async with asyncio.timeout(10):
        while layer.statistics.dropped.get(reason, 0) < count:
            await asyncio.sleep(0.01)


@both_layers
async def test_a_message_cannot_be_sent_on_to_another_destination(make, layer_class, redis, base):
    layer = make(layer_class)
    mine, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("staff", mine)
    await layer.group_add("public", other)
    eavesdropper = Eavesdropper(redis, layer, base)
    eavesdropper.listen("staff")
    await make(layer_class).group_send("staff", {"type": "secret"})
    assert await layer.receive(mine) == {"type": "secret"}
    data = eavesdropper.heard()
    eavesdropper.send_to_group("public", data)
    eavesdropper.send_to_channel(other, data)
    eavesdropper.send_to_channel(mine, data)
    redis.xadd(f"{base}:queue:work", {"m": data})
    worker = asyncio.create_task(layer.receive("work"))
    await dropped(layer, UNDECODABLE, 4)
    assert not worker.done()
    await layer.send(other, {"type": "last"})
    assert await layer.receive(other) == {"type": "last"}
    await layer.send("work", {"type": "job"})
    async with asyncio.timeout(10):
        assert await worker == {"type": "job"}


@both_layers
async def test_a_message_to_a_channel_cannot_be_sent_to_another_one(make, layer_class, redis, base):
    layer = make(layer_class)
    mine, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("public", other)
    await layer.send("work", {"type": "job"})
    ((_, fields),) = redis.xrange(f"{base}:queue:work")
    data = fields[b"m"]
    eavesdropper = Eavesdropper(redis, layer, base)
    eavesdropper.send_to_channel(mine, data)
    eavesdropper.send_to_group("public", data)
    redis.xadd(f"{base}:queue:other", {"m": data})
    worker = asyncio.create_task(layer.receive("other"))
    await dropped(layer, UNDECODABLE, 3)
    worker.cancel()
    async with asyncio.timeout(10):
        assert await layer.receive("work") == {"type": "job"}


@both_layers
async def test_a_message_cannot_be_sent_again_later(make, layer_class, redis, base, monkeypatch):
    layer = make(layer_class, expiry=5)
    mine = await layer.new_channel()
    await layer.group_add("staff", mine)
    eavesdropper = Eavesdropper(redis, layer, base)
    eavesdropper.listen("staff")
    await make(layer_class, expiry=5).group_send("staff", {"type": "secret"})
    assert await layer.receive(mine) == {"type": "secret"}
    data = eavesdropper.heard()
    now = sealing.wall()
    monkeypatch.setattr(sealing, "wall", lambda: now + 15)
    eavesdropper.send_to_group("staff", data)
    await dropped(layer, EXPIRED, 1)
    await layer.group_send("staff", {"type": "last"})
    assert await layer.receive(mine) == {"type": "last"}


@both_layers
async def test_a_queue_in_a_group_gets_what_is_sent_to_the_group(make, layer_class):
    """It is addressed to the queue: who sends to the group sends to each of them."""
    layer = make(layer_class)
    mine = await layer.new_channel()
    for channel in (mine, "work", "more.work"):
        await layer.group_add("g", channel)
    await make(layer_class).group_send("g", {"type": "job"})
    async with asyncio.timeout(10):
        for channel in (mine, "work", "more.work"):
            assert await layer.receive(channel) == {"type": "job"}
    assert layer.statistics.dropped == {}


@both_layers
async def test_a_format_of_the_projects_own_is_sealed_too(make, layer_class, redis, base):
    class Own(layer_class):
        def serialize(self, message):
            return message["type"].encode()

        def deserialize(self, message):
            return {"type": message.decode()}

    layer = make(Own)
    await layer.send("work", {"type": "job"})
    ((_, fields),) = redis.xrange(f"{base}:queue:work")
    assert fields[b"m"].endswith(b"job")
    redis.xadd(f"{base}:queue:other", fields)
    waiting = asyncio.create_task(layer.receive("other"))
    await dropped(layer, UNDECODABLE, 1)
    waiting.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await waiting
    async with asyncio.timeout(10):
        assert await layer.receive("work") == {"type": "job"}


@both_layers
async def test_without_encryption_nothing_is_added(make, layer_class, redis, base):
    layer = make(layer_class, symmetric_encryption_keys=None)
    await layer.send("work", {"type": "job"})
    ((_, fields),) = redis.xrange(f"{base}:queue:work")
    assert fields[b"m"] == layer.serialize({"type": "job"})

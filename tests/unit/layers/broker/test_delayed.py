"""What a layer makes of a broker that keeps messages: over Redis, on both transports."""

import asyncio
import math
import time
import uuid
from datetime import UTC, datetime, timedelta

import pytest
from asgiref.sync import async_to_sync

from channels.exceptions import (
    BrokerUnavailable,
    ChannelFull,
    InvalidChannelLayerError,
    InvalidNameError,
    InvalidScheduleError,
    ScheduleFull,
    SerializationError,
)
from channels.layers.broker import delayed, scheduler
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis import schedule as redis_schedule
from channels.layers.statistics import CAPACITY, UNDECODABLE

from ....brokers import running
from ..helpers import balanced, message, soon, until
from ..loops import another_loop, call

#: For what the transport has a part in. The rest is tested on one of them.
both_layers = pytest.mark.parametrize(
    "layer_class", [RedisChannelLayer, RedisPubSubChannelLayer], ids=["streams", "pubsub"]
)


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
def redis(broker):
    with broker.client() as client:
        yield client


@pytest.fixture
def layer_class():
    return RedisChannelLayer


@pytest.fixture
async def make(broker, layer_class):
    prefix, made = uuid.uuid4().hex, []

    def make(cls=layer_class, hosts=1, **options):
        options = {"hosts": [broker.address] * hosts, "prefix": prefix, **options}
        made.append(cls(**options))
        return made[-1]

    yield make
    for layer in made:
        await layer.aclose()


@pytest.fixture
def layer(make):
    return make()


def at_once(redis, layer):
    """Let all that is scheduled be due again now, claimed or not."""
    for partition in range(layer.ring_size):
        key = f"{{{layer.prefix}:{partition}}}:later"
        for name in redis.zrange(key, 0, -1):
            redis.zadd(key, {name: 0})


def scheduled(redis, layer):
    return sum(redis.zcard(f"{{{layer.prefix}:{n}}}:later") for n in range(layer.ring_size))


# When, and by whom


async def test_a_process_that_never_receives_sends_nothing_and_asks_for_nothing(layer, make):
    await layer.send_later("jobs", message(1), delay=0)
    assert layer._scheduler.loop is None
    receiver = make()
    assert await soon(receiver.receive("jobs")) == message(1)
    assert receiver._scheduler.loop is asyncio.get_running_loop()


@both_layers
async def test_what_this_process_schedules_comes_in_time(layer):
    channel = await layer.new_channel()
    await until(lambda: layer._scheduler._watch.alarms[0]._at < math.inf)
    start = time.monotonic()
    await layer.send_later(channel, message(1), delay=0.05)
    assert await soon(layer.receive(channel)) == message(1)
    assert 0.045 < time.monotonic() - start < 0.9


async def test_time_is_the_servers(layer, monkeypatch):
    """A process whose clock is wrong schedules for a delay all the same, and is waited for."""
    real = time.time
    monkeypatch.setattr(time, "time", lambda: real() + 3600)
    channel, start = await layer.new_channel(), time.monotonic()
    await layer.send_later(channel, message(1), delay=0.05)
    at = datetime.fromtimestamp(real() + 0.1, UTC)
    await layer.send_later(channel, message(2), at=at)
    assert await soon(layer.receive(channel)) == message(1)
    assert await soon(layer.receive(channel)) == message(2)
    assert 0.09 < time.monotonic() - start < 3


@both_layers
async def test_event_loops_for_a_single_call(layer):
    def schedule_and_cancel():
        handle = async_to_sync(layer.send_later)("jobs", message(1), delay=30)
        return async_to_sync(layer.cancel_later)(handle)

    assert await asyncio.to_thread(schedule_and_cancel)
    channel = await asyncio.to_thread(async_to_sync(layer.new_channel))
    await asyncio.to_thread(async_to_sync(layer.send_later), channel, message(2), delay=0.01)
    assert await soon(layer.receive(channel)) == message(2)


async def test_the_expiry_begins_when_it_is_sent(make):
    layer = make(expiry=0.5)
    await layer.send_later("jobs", message(1), delay=0)
    await asyncio.sleep(0.6)
    assert await soon(layer.receive("jobs")) == message(1)
    assert not layer.statistics.dropped


# What is refused


async def test_what_is_wrong_is_said_when_it_is_scheduled(layer, redis):
    for refused in (
        layer.send_later("two words", message(), delay=1),
        layer.group_send_later("two words", message(), delay=1),
        layer.send_every(1, "two words", message(), name="clock"),
        layer.group_send_every(1, "two words", message(), name="clock"),
        layer.send_every(1, "jobs", message(), name="two words"),
        layer.cancel_every("two words"),
    ):
        with pytest.raises(InvalidNameError):
            await refused
    for refused in (
        layer.send_later("jobs", {"x": object()}, delay=1),
        layer.group_send_every(1, "chat", {"x": object()}, name="clock"),
    ):
        with pytest.raises(SerializationError):
            await refused
    for refused in (
        layer.send_later("jobs", message()),
        layer.send_every(0, "jobs", message(), name="clock"),
    ):
        with pytest.raises(InvalidScheduleError):
            await refused
    assert scheduled(redis, layer) == 0


async def test_handles(layer, make):
    handle = await layer.send_later("jobs", message(), delay=30)
    other = make(prefix="another")
    for wrong in (None, 7, "", "nonsense", "memory.0123", f"{handle}\n", handle + "x"):
        with pytest.raises(InvalidScheduleError, match="is no handle"):
            await layer.cancel_later(wrong)
    mark, _, number = handle.split(".")
    for layer_, wrong in ((other, handle), (layer, f"{mark}.7.{number}")):
        with pytest.raises(InvalidScheduleError, match="is another layer's"):
            await layer_.cancel_later(wrong)
    assert await make().cancel_later(handle) is True
    assert await layer.cancel_later(handle) is False


async def test_the_bound(make):
    layer = make(schedule_capacity=1)
    await layer.send_later("jobs", message(), delay=30)
    with pytest.raises(ScheduleFull, match="schedule_capacity"):
        await layer.group_send_every(30, "jobs", message(), name="clock")
    await layer.flush()
    await layer.send_later("jobs", message(), delay=30)
    with pytest.raises(InvalidChannelLayerError):
        make(schedule_capacity="many")


async def test_a_broker_that_is_away(layer_class):
    layer = layer_class(hosts=[("127.0.0.1", 1)])
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await layer.send_later("jobs", message(), delay=1)
    await layer.aclose()


# What cannot be sent


async def test_a_full_queue_is_tried_again_and_then_counted(make, redis, drops):
    layer = make(capacity=1, expiry=0.5)
    await layer.send("jobs", message(1))
    await layer.send_later("jobs", message(2), delay=0)
    await layer.new_channel()
    tried = f"{{{layer.prefix}:0}}:later:messages"
    await until(lambda: any(value.startswith(b"- ") for value in redis.hvals(tried)))
    assert not drops
    redis.persist(f"{{{layer.prefix}:0}}:queue:jobs")
    await asyncio.sleep(0.5)
    layer.capacity = 0
    at_once(redis, layer)
    await until(lambda: ("jobs", CAPACITY, 1) in drops)
    assert scheduled(redis, layer) == 0


@both_layers
async def test_a_full_queue_in_another_partition_is_tried_again(make, redis, drops):
    layer = make(hosts=8, capacity=1)
    name = next(n for n in map(str, range(99)) if layer.consistent_hash(n))
    await layer.send(name, message(1))
    await layer.send_every(0.1, name, message(2), name="clock")
    await layer.new_channel()
    tried = f"{{{layer.prefix}:0}}:later:messages"
    await until(lambda: any(value.startswith(b"- ") for value in redis.hvals(tried)))
    assert await soon(layer.receive(name)) == message(1)
    at_once(redis, layer)
    assert await soon(layer.receive(name)) == message(2)
    assert not drops


@both_layers
async def test_a_consumer_that_is_full_loses_it_and_one_that_is_gone(make, drops):
    layer = make(capacity=1)
    channel = await layer.new_channel()
    await layer.send(channel, message(1))
    await layer.send_later(channel, message(2), delay=0)
    await until(lambda: drops)
    assert drops == [(channel, CAPACITY, 1)]
    gone = f"specific.{uuid.uuid4().hex}!abc"
    await layer.send_later(gone, message(2), delay=0)
    await until(lambda: len(drops) == 2)
    assert drops[1][0] == gone
    assert balanced(layer)


async def test_what_cannot_be_read_is_left_to_others_until_it_is_too_late(
    make, drops, redis, caplog
):
    sender = make(symmetric_encryption_keys=["one"])
    for name in ("jobs", "specific.0123!abc"):
        await sender.send_later(name, message(1), delay=0)
    await sender.group_send_later("chat", message(1), delay=0)
    stranger = make(symmetric_encryption_keys=["two"], expiry=0.3)
    await stranger.new_channel()
    tried = f"{{{stranger.prefix}:0}}:later:messages"
    await until(lambda: sum(v.startswith(b"- ") for v in redis.hvals(tried)) == 3)
    assert not drops
    await asyncio.sleep(0.3)
    at_once(redis, stranger)
    await until(lambda: len(drops) == 3)
    assert {reason for _, reason, _ in drops} == {UNDECODABLE}
    assert "The message that was due for jobs was not sent" in caplog.text


async def test_a_subclass_that_cannot_send_or_read(make, layer_class, drops, redis, caplog):
    class Broken(layer_class):
        async def group_send(self, group, message):
            raise OSError("no way")

        def deserialize(self, message):
            raise OSError("no such format")

    layer = make(Broken, expiry=0.001)
    layer.deserialize = lambda data: {}
    await layer.group_send_later("chat", message(1), delay=0)
    await layer.new_channel()
    await until(lambda: drops or at_once(redis, layer))
    del layer.deserialize
    await layer.group_send_later("chat", message(1), delay=0)
    await until(lambda: len(drops) == 2 or at_once(redis, layer))
    assert drops == [("chat", UNDECODABLE, 1)] * 2
    assert "no way" in caplog.text
    assert "no such format" in caplog.text


async def test_what_was_not_sent_in_time_is_sent_when_the_claim_ends(
    make, layer_class, monkeypatch, caplog
):
    monkeypatch.setattr(delayed, "_SENDING", 0.02)
    monkeypatch.setattr(redis_schedule, "CLAIM_LEASE", 0.1)
    monkeypatch.setattr(scheduler, "POLL", 0.05)
    attempts = []

    class Slow(layer_class):
        async def group_send(self, group, message):
            attempts.append(group)
            if len(attempts) == 1:
                await asyncio.sleep(5)
            if len(attempts) == 2:
                raise BrokerUnavailable("away")
            await super().group_send(group, message)

    layer = make(Slow)
    channel = await layer.new_channel()
    await layer.group_add("chat", channel)
    await layer.group_send_later("chat", message(1), delay=0)
    assert await soon(layer.receive(channel)) == message(1)
    assert len(attempts) == 3
    assert "due for chat is tried again later: TimeoutError()" in caplog.text
    assert "due for chat is tried again later: away" in caplog.text


async def test_a_process_that_stood_still_leaves_the_rest_of_its_claim(make, monkeypatch):
    monkeypatch.setattr(delayed, "_BEGINNING", -1.0)
    monkeypatch.setattr(redis_schedule, "CLAIM_LEASE", 0.3)
    layer = make()
    channel = await layer.new_channel()
    await layer.send_later(channel, message(1), delay=0)
    receiving = asyncio.create_task(layer.receive(channel))
    await asyncio.sleep(0.1)
    assert not receiving.done()
    monkeypatch.setattr(delayed, "_BEGINNING", 5.0)
    assert await soon(receiving) == message(1)


async def test_a_process_that_ends_puts_back_what_it_has_not_sent(make, layer_class):
    class Slow(layer_class):
        async def group_send(self, group, message):
            sent.append(message)
            await going_on.wait()

    sent, going_on = [], asyncio.Event()
    layer, other = make(Slow), make()
    for number in range(3):
        await layer.group_send_later("chat", message(number), delay=0)
    await layer.new_channel()
    await until(lambda: sent)
    stopping = asyncio.create_task(layer.aclose())
    await until(lambda: layer._scheduler.loop is None)
    going_on.set()
    await stopping
    assert sent == [message(0)]
    channel = await other.new_channel()
    await other.group_add("chat", channel)
    assert await soon(other.receive(channel)) == message(1)
    assert await soon(other.receive(channel)) == message(2)


# Encryption


@both_layers
async def test_what_is_kept_is_for_its_destination_only(make, redis, drops):
    layer = make(symmetric_encryption_keys=["key"])
    channel = await layer.new_channel()
    await layer.send_later(channel, message(1), delay=0.02)
    await layer.send_later("jobs", message(2), delay=0.02)
    assert await soon(layer.receive(channel)) == message(1)
    assert await soon(layer.receive("jobs")) == message(2)
    await layer.send_later("jobs", {"type": "secret"}, delay=30)
    (kept,) = redis.hvals(f"{{{layer.prefix}:0}}:later:messages")
    assert b"secret" not in kept
    layer._scheduler.expect(0, 0)
    redis.hset(
        f"{{{layer.prefix}:0}}:later:messages", "forged", kept.replace(b" jobs\n", b" other\n")
    )
    redis.zadd(f"{{{layer.prefix}:0}}:later", {"forged": 1})
    await until(lambda: redis.hexists(f"{{{layer.prefix}:0}}:later:messages", "@forged"))
    assert redis.xlen(f"{{{layer.prefix}:0}}:queue:other") == 0


async def test_a_subclass_with_a_format_of_its_own(make, layer_class, drops, redis):
    class Own(layer_class):
        def serialize(self, message):
            return bytearray(super().serialize(message))

    layer = make(Own)
    channel = await layer.new_channel()
    await layer.send_later(channel, message(1), delay=0)
    assert await soon(layer.receive(channel)) == message(1)
    await layer.send_later(channel, message(2), delay=30)
    stored = f"{{{layer.prefix}:0}}:later:messages"
    ((name, kept),) = redis.hgetall(stored).items()
    redis.hset(stored, name, kept.partition(b"\n")[0] + b"\nrubbish")
    layer.expiry = 0.001
    await until(lambda: drops or at_once(redis, layer))
    assert drops == [(channel, UNDECODABLE, 1)]


# Again and again


@both_layers
async def test_processes_that_register_the_same_name_send_it_once(make):
    layers = [make(hosts=3) for _ in range(3)]
    channel = await layers[0].new_channel()
    await layers[0].group_add("chat", channel)
    start = time.monotonic()
    for layer in layers:
        await layer.new_channel()
        await layer.group_send_every(0.1, "chat", message(1), name="clock")
    for _ in range(4):
        assert await soon(layers[0].receive(channel)) == message(1)
    assert time.monotonic() - start > 0.35
    await layers[1].send_every(0.1, channel, message(2), name="clock")
    while await soon(layers[0].receive(channel)) != message(2):
        pass
    assert await layers[2].cancel_every("clock") is True
    assert await layers[0].cancel_every("clock") is False


async def test_a_channel_may_be_in_any_partition(make):
    layer = make(hosts=3)
    for name in map(str, range(9)):
        await layer.send_later(name, message(1), at=datetime.now(UTC) - timedelta(days=1))
        assert await soon(layer.receive(name)) == message(1)
        await layer.send_every(0.1, name, message(2), name="clock")
        assert await soon(layer.receive(name)) == message(2)
    assert await layer.cancel_every("clock")


# The end


@both_layers
async def test_close_pools_lets_the_scheduler_go_unless_somebody_waits(layer, broker):
    await layer.new_channel()
    await layer.close_pools()
    assert layer._scheduler.loop is None
    await layer.close_pools()
    waiting = asyncio.create_task(layer.receive("jobs"))
    await until(layer.transport.named.is_awaited)
    await layer.close_pools()
    assert layer._scheduler.loop is not None
    await layer.send_later("jobs", message(1), delay=0)
    assert await soon(waiting) == message(1)


async def test_the_layer_can_be_closed_and_used_again(layer):
    channel = await layer.new_channel()
    handle = await layer.send_later("jobs", message(1), delay=30)
    await layer.aclose()
    assert layer._scheduler.loop is None
    assert await layer.cancel_later(handle) is True
    assert channel


async def test_an_event_loop_that_ends_leaves_the_schedule_to_another(layer):
    with another_loop() as loop:
        await call(loop, layer.new_channel())
        channel = await layer.new_channel()
        waiting = asyncio.create_task(layer.receive(channel))
        await until(layer.local.waiting_loops)
    await layer.send_later(channel, message(1), delay=0.02)
    assert await soon(waiting) == message(1)


async def test_a_full_channel_is_no_error_of_the_scheduler(make, layer_class, drops):
    class Full(layer_class):
        async def send(self, channel, message):
            raise ChannelFull("the inbox is full")

    layer = make(Full)
    await layer.new_channel()
    gone = f"specific.{uuid.uuid4().hex}!abc"
    await layer.send_later(gone, message(1), delay=0)
    await until(lambda: drops)
    assert drops == [(gone, CAPACITY, 1)]

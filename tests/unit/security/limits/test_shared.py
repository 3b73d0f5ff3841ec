"""What processes count together: token buckets, and open connections on a real server."""

import asyncio
import uuid

import pytest
from django.test import override_settings

from channels._runtime import clock
from channels._runtime.buckets import Buckets
from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.base import BaseChannelLayer
from channels.security.limits import LimitMiddleware, Limits, shared, statistics
from channels.security.limits.rates import Rate
from channels_redis.core import RedisChannelLayer
from tests.asgi import Server, until
from tests.brokers import running

DENIALS = {"extensions": {"websocket.http.response": {}}}
A, B = {"client": ("192.0.2.1", 1), **DENIALS}, {"client": ("192.0.2.2", 1), **DENIALS}


class Echo(AsyncWebsocketConsumer):
    """Accepts, and needs no layer itself."""

    channel_layer_alias = None


def limited(**limits):
    return type("Limited", (Echo,), {"client_limits": Limits(**limits)}).as_asgi()


async def connect(application, scope=A, **more):
    return await Server(application, **{**scope, **more}).connect()


def status(server):
    return server.sent[0].get("status", server.sent[0]["type"])


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def layers(broker):
    """Layers of three processes: that of this one, and two more."""
    prefix = uuid.uuid4().hex
    layers = [RedisChannelLayer(hosts=[broker.url], prefix=prefix) for _ in range(3)]
    former = channel_layers.set("default", layers[0])
    yield layers
    channel_layers.set("default", former)
    await layers[0].flush()
    for layer in layers:
        await layer.aclose()


async def settled(layer):
    while layer._places.get()._task and not layer._places.get()._task.done():
        await asyncio.wait((layer._places.get()._task,))


def names(layer):
    """The names of what is held through a layer."""
    return dict(layer._places.get()._numbers)


async def test_what_was_taken_and_not_used_is_forgotten_for_the_keys_used_longest_ago(monkeypatch):
    monkeypatch.setattr(shared, "MOST", 2)
    layer = InMemoryChannelLayer()
    former = channel_layers.set("default", layer)
    try:
        store = shared.SharedStore("default", Buckets())
        rate = Rate(1, seconds=1000, burst=100)
        for key in ("a", "b", "c"):
            assert await store.take(key, rate, 1.0, exact=False) == 0
        assert [store.has(key, 1.0) for key in ("a", "b", "c")] == [False, True, True]
    finally:
        channel_layers.set("default", former)


# Connections


async def test_connections_of_all_processes_count_together(layers, caplog):
    here, second, third = layers
    application = limited(connections_per_address=3, shared="default")
    first = await connect(application)
    (name,) = names(here)
    assert "192.0.2.1" not in name, "no address is stored"
    assert [await layer.take_places({name: 3}) for layer in (second, third)] == [None, None]
    assert status(await connect(application)) == 429
    assert "more than 3 connections from address 192.0.2.1 (connections_per_ad" in caplog.text
    other = await connect(application, B)
    second.give_places([name])
    await settled(second)
    again = await connect(application)
    assert [status(server) for server in (first, other, again)] == ["websocket.accept"] * 3
    for server in (first, other, again):
        await server.leave()
    await settled(here)
    assert not names(here)
    assert await third.take_places({name: 2}) is None


async def test_what_has_reached_its_limit_here_asks_nobody(layers, monkeypatch):
    application = limited(connections_per_consumer=1, shared="default")
    asked, take = [], RedisChannelLayer.take_places

    async def take_places(self, places):
        asked.extend(places)
        return await take(self, places)

    monkeypatch.setattr(RedisChannelLayer, "take_places", take_places)
    first = await connect(application)
    assert len(asked) == 1
    assert status(await connect(application)) == 429
    assert len(asked) == 1
    await first.leave()


async def test_who_tries_again_and_again_does_not_make_the_process_ask_each_time(
    layers, monkeypatch
):
    monkeypatch.setattr(shared, "MOST", 2)
    _, second, _ = layers
    store = shared.SharedStore("default", Buckets())
    moment, asked, take = [clock.now()], [], RedisChannelLayer.take_places

    async def take_places(self, places):
        asked.extend(places)
        return await take(self, places)

    monkeypatch.setattr(RedisChannelLayer, "take_places", take_places)
    monkeypatch.setattr("channels.security.limits.shared.clock.now", lambda: moment[0])
    for key in ("a", "b", "c"):
        assert await second.take_places({shared._name_of(key): 1}) is None
    asked.clear()
    assert [(await store.open({"a": 1}))[0] for _ in range(10)] == ["a"] * 10
    assert len(asked) == 3
    second.give_places([shared._name_of("a")])
    await settled(second)
    moment[0] += 1.1
    full, places = await store.open({"a": 1})
    assert full is None
    places.give_back()
    for key in ("b", "c", "a"):
        await store.open({key: 1})
    assert list(store._full) == ["b", "c"], "those that were refused longest ago are forgotten"


async def test_what_one_limit_refuses_counts_for_none(layers):
    here, second, _ = layers
    with override_settings(CHANNELS_LIMITS={"CONNECTIONS_PER_ADDRESS": 5, "SHARED": "default"}):
        application = limited(connections_per_consumer=2)
        first = await connect(application)
        (consumer,) = [n for n in names(here) if await second.take_places({n: 2}) is None][1:]
        assert status(await connect(application)) == 429
        await settled(here)
        assert names(here)[consumer] == 1
        assert set(names(here).values()) == {1}
        await first.leave()


async def test_limits_that_are_not_shared_stay_within_the_process(layers):
    here, *_ = layers
    inner = limited(connections_per_consumer=5, shared="default")
    application = LimitMiddleware(inner, connections_per_address=5, name="outer", shared="default")
    with override_settings(CHANNELS_LIMITS={"CONNECTIONS_PER_ADDRESS": 1}):
        first = await connect(application)
        assert len(names(here)) == 2
        assert status(await connect(application)) == 429
        await settled(here)
        assert list(names(here).values()) == [1, 1]
        await first.leave()
    await settled(here)
    assert not names(here)


async def test_a_client_that_leaves_while_the_broker_is_asked_holds_nothing(layers, broker):
    here, *_ = layers
    application = limited(connections_per_address=1, shared="default")
    broker.pause()
    try:
        server = Server(application, **A)
        server.start()
        server.put("websocket.connect")
        await until(lambda: names(here))
        server.task.cancel()
        await asyncio.wait((server.task,))
        assert not names(here)
    finally:
        broker.resume()
    again = await connect(application)
    assert status(again) == "websocket.accept"
    await again.leave()


async def test_without_the_broker_each_process_counts_and_tells_it_afterwards(
    layers, broker, caplog
):
    here, second, _ = layers
    before = statistics()["not shared"]
    application = limited(connections_per_address=2, shared="default")
    broker.pause()
    try:
        first, third = await connect(application), await connect(application)
        assert status(await connect(application)) == 429
    finally:
        broker.resume()
    assert statistics()["not shared"] == before + 2
    assert "Limits are counted in each process by itself for 5 s, because" in caplog.text
    await settled(here)
    (name,) = names(here)
    assert await second.take_places({name: 2}) == name
    await first.leave()
    await third.leave()
    await settled(here)
    assert await second.take_places({name: 1}) is None


class Blind(BaseChannelLayer):
    """Counts nothing."""


@pytest.mark.parametrize("layer", [None, Blind(), InMemoryChannelLayer(), object()], ids=type)
async def test_a_layer_that_does_not_count_leaves_it_to_the_process(layer):
    former = channel_layers.set("counts", layer) if layer is not None else None
    application = limited(connections_per_address=1, shared="counts")
    try:
        first = await connect(application)
        assert status(await connect(application)) == 429
        await first.leave()
        again = await connect(application)
        assert status(again) == "websocket.accept"
        await again.leave()
    finally:
        if layer is not None:
            channel_layers.set("counts", former)


async def test_a_broker_that_has_not_answered_is_not_asked_again_for_a_while(layers, monkeypatch):
    here, *_ = layers
    store = shared.SharedStore("default", Buckets())
    store._paused_until = clock.now() + 100
    full, places = await store.open({"a": 1})
    assert full is None
    assert list(names(here).values()) == [1]
    places.give_back()
    assert not names(here)


async def test_what_ends_without_its_event_loop_is_left_to_the_lease(layers):
    here, *_ = layers
    _, places = await shared.SharedStore("default", Buckets()).open({"a": 1})
    await asyncio.to_thread(places.give_back)
    assert list(names(here).values()) == [1]
    places.give_back()
    assert not names(here)

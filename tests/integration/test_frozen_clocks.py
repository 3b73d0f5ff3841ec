"""Layers and consumers in tests that freeze time, as freezegun does it: event loops included."""

import asyncio
import threading
import uuid
from contextlib import AsyncExitStack, contextmanager

import pytest
from freezegun import freeze_time

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import InMemoryChannelLayer, channel_layers
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.testing import WebsocketCommunicator

from ..brokers import running

DEADLINE = 30
GROUP = "group"
MOMENTS = [None, "1999-12-31", "2100-01-01"]
MESSAGE = {"type": "test.message", "text": "hello"}


@pytest.fixture(scope="module")
def broker():
    with running() as broker:
        yield broker


def in_memory(broker):
    return InMemoryChannelLayer()


def streams(broker):
    return RedisChannelLayer(hosts=[broker.address], prefix=uuid.uuid4().hex)


def pubsub(broker):
    return RedisPubSubChannelLayer(hosts=[broker.address], prefix=uuid.uuid4().hex)


@pytest.fixture(params=[in_memory, streams, pubsub], ids=lambda make: make.__name__)
async def layer(request, broker):
    layer = request.param(broker)
    yield layer
    await layer.aclose()


@pytest.fixture(params=MOMENTS, ids=["today", "the past", "the future"])
def frozen(request):
    return lambda: freeze_time(request.param)


@pytest.fixture(autouse=True)
def in_time():
    """A deadline on a thread's clock, since timers of the event loop stand still."""

    @contextmanager
    def guard():
        loop, task = asyncio.get_running_loop(), asyncio.current_task()
        timer = threading.Timer(DEADLINE, loop.call_soon_threadsafe, (task.cancel,))
        timer.start()
        try:
            yield
        finally:
            timer.cancel()

    return guard


async def turns(count=50):
    for _ in range(count):
        await asyncio.sleep(0)


async def test_a_group_message_sent_while_time_is_frozen(layer, frozen, in_time):
    with in_time():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        with frozen():
            await layer.group_send(GROUP, MESSAGE)
        assert await layer.receive(channel) == MESSAGE


async def test_a_message_received_while_time_is_frozen(layer, frozen, in_time):
    with in_time():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        await layer.send(channel, MESSAGE)
        await layer.group_send(GROUP, MESSAGE)
        with frozen():
            assert await layer.receive(channel) == MESSAGE
            assert await layer.receive(channel) == MESSAGE


async def test_all_of_it_while_time_is_frozen(layer, frozen, in_time):
    with in_time(), frozen():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        await layer.group_send(GROUP, MESSAGE)
        assert await layer.receive(channel) == MESSAGE
        await layer.group_discard(GROUP, channel)


async def test_a_member_that_joined_while_time_was_frozen(layer, frozen, in_time):
    with in_time():
        with frozen():
            channel = await layer.new_channel()
            await layer.group_add(GROUP, channel)
        await layer.group_send(GROUP, MESSAGE)
        assert await layer.receive(channel) == MESSAGE


async def test_a_named_channel(layer, frozen, in_time):
    with in_time():
        with frozen():
            await layer.send("jobs", MESSAGE)
        assert await layer.receive("jobs") == MESSAGE
        await layer.send("jobs", MESSAGE)
        with frozen():
            assert await layer.receive("jobs") == MESSAGE
        receiving = asyncio.ensure_future(layer.receive("jobs"))
        with frozen():
            await turns()
            await layer.send("jobs", MESSAGE)
            assert await receiving == MESSAGE


async def test_a_delayed_message(layer, frozen, in_time):
    with in_time():
        with frozen():
            await layer.send_later("named", MESSAGE, delay=0.05)
            await layer.send_every(0.1, "other", MESSAGE, name="clock")
            assert await layer.receive("named") == MESSAGE
            assert await layer.receive("other") == MESSAGE
        assert await layer.receive("other") == MESSAGE
        await layer.cancel_every("clock")


async def test_time_that_jumps_again_and_again_while_somebody_waits(layer, frozen, in_time):
    with in_time():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        for _ in range(5):
            receiving = asyncio.ensure_future(layer.receive(channel))
            await turns()
            with frozen():
                await turns()
            await turns()
            await layer.group_send(GROUP, MESSAGE)
            assert await receiving == MESSAGE


class Listener(AsyncWebsocketConsumer):
    groups = [GROUP]
    told = 0

    async def test_message(self, event):
        await self.send(event["text"])

    async def layer_gap(self, message):
        await self.send("gap")


async def test_connected_consumers(layer, frozen, in_time):
    before = channel_layers.set("default", layer)
    try:
        with in_time():
            async with AsyncExitStack() as stack:
                clients = [WebsocketCommunicator(Listener.as_asgi(), "/") for _ in range(3)]
                for client in clients:
                    await stack.enter_async_context(client)
                for _ in range(3):
                    with frozen():
                        await layer.group_send(GROUP, MESSAGE)
                        for client in clients:
                            assert await client.receive_from() == "hello"
                    await layer.group_send(GROUP, MESSAGE)
                    for client in clients:
                        assert await client.receive_from() == "hello"
    finally:
        channel_layers.set("default", before)


@pytest.mark.parametrize("layer", [streams, pubsub], indirect=True, ids=lambda make: make.__name__)
async def test_a_connection_that_breaks_while_time_is_frozen(layer, frozen, in_time, broker):
    with in_time():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        with frozen():
            with broker.client() as client:
                client.client_kill_filter(_type="normal", skipme=True)
                client.client_kill_filter(_type="pubsub", skipme=True)
            await turns()
        receiving = asyncio.ensure_future(layer.receive(channel))
        while not receiving.done():  # what is published before it has reconnected is lost
            await layer.group_send(GROUP, MESSAGE)
            await asyncio.wait((receiving,), timeout=0.1)
        assert receiving.result() == MESSAGE


async def test_the_layer_loses_nothing_and_says_nothing(layer, frozen, in_time, caplog):
    with in_time():
        channel = await layer.new_channel()
        await layer.group_add(GROUP, channel)
        with frozen():
            await layer.group_send(GROUP, MESSAGE)
            await turns()
        await layer.receive(channel)
        await turns()
    assert layer.statistics.dropped == {}
    assert [record for record in caplog.records if record.levelname != "DEBUG"] == []

"""Consumers that listen, senders that send, and the account of what came of it."""

import asyncio
import contextlib
import itertools
import json
import threading
import uuid
from collections import Counter

import pytest

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ..asgi import Server, until

ALIAS = "faults"
GROUP = "room"

# Seconds for those who lost the broker to be back after it; their attempts are at most 1 s apart.
RESUMPTION = 5.0


#: For tests of what both layers promise, and for those of pub/sub alone. The others are of streams.
both_layers = pytest.mark.parametrize(
    "layer_class", [RedisChannelLayer, RedisPubSubChannelLayer], ids=["streams", "pubsub"]
)
pubsub = pytest.mark.parametrize("layer_class", [RedisPubSubChannelLayer], ids=["pubsub"])


def make_layer(*addresses, layer_class=RedisChannelLayer, prefix="faults", **options):
    options = {"capacity": 100_000, **options}
    return layer_class(hosts=list(addresses), prefix=prefix, **options)


async def restart(broker, seconds):
    await asyncio.to_thread(broker.kill)
    await asyncio.sleep(seconds)
    await asyncio.to_thread(broker.start)


def balanced(layer):
    counts = layer.statistics
    return counts.sent == counts.delivered + sum(counts.dropped.values()) + counts.pending


@contextlib.asynccontextmanager
async def received_elsewhere(layer):
    """Meanwhile an event loop of another thread receives for the process; at the end it ends."""
    receives, over = asyncio.Event(), threading.Event()
    here = asyncio.get_running_loop()

    async def receive():
        await layer.new_channel()
        here.call_soon_threadsafe(receives.set)
        await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(receive(),))
    thread.start()
    try:
        await receives.wait()
        yield
    finally:
        over.set()
        await asyncio.to_thread(thread.join)


class Member(AsyncWebsocketConsumer):
    channel_layer_alias = ALIAS
    groups = [GROUP]

    async def connect(self):
        await self.accept()
        await self.send(text_data=self.channel_name)

    async def news(self, event):
        await self.send(text_data=json.dumps([event["sender"], event["n"]]))

    async def layer_gap(self, message):
        await self.send(text_data="gap")


class Room:
    """Consumers in a group, each behind the server's side of a connection of its own."""

    def __init__(self, layer, members=3, consumer=Member):
        self.layer = layer
        self.servers = [Server(consumer.as_asgi()) for _ in range(members)]
        self._before = None

    async def __aenter__(self):
        channel_layers.set(ALIAS, self.layer)
        for server in self.servers:
            await server.connect()
        await until(lambda: all(len(server.texts()) for server in self.servers))
        return self

    async def __aexit__(self, *exc_info):
        for server in self.servers:
            with contextlib.suppress(TimeoutError):
                await server.leave()
        channel_layers.set(ALIAS, None)

    @property
    def channels(self):
        return [server.texts()[0] for server in self.servers]

    @property
    def connected(self):
        return all(
            not server.task.done() and "websocket.close" not in server.types()
            for server in self.servers
        )

    def heard(self):
        """What each member got, in order: pairs of sender and number, and "gap"."""
        return [
            [text if text == "gap" else tuple(json.loads(text)) for text in server.texts()[1:]]
            for server in self.servers
        ]

    def gaps(self):
        return [heard.count("gap") for heard in self.heard()]

    async def hears(self, message, deadline=15.0):
        """Wait until every member got the message."""
        await until(lambda: all(message in heard for heard in self.heard()), deadline)


class Sender:
    """Sends numbered messages, one after the other, until it is stopped."""

    def __init__(self, layer, *, name=None, pause=0.002, channel=None):
        self.layer = layer
        self.name = name or uuid.uuid4().hex[:8]
        self.pause = pause
        self.channel = channel
        self.sent = []
        self.errors = []
        self._n = 0
        self._task = None
        self._stopping = False

    async def send_one(self):
        n, self._n = self._n, self._n + 1
        message = {"type": "news", "sender": self.name, "n": n}
        try:
            if self.channel is None:
                await self.layer.group_send(GROUP, message)
            else:
                await self.layer.send(self.channel, message)
        except Exception as error:
            self.errors.append((n, error))
        else:
            self.sent.append(n)
        return (self.name, n)

    async def _run(self):
        while not self._stopping:
            await self.send_one()
            await asyncio.sleep(self.pause)

    async def __aenter__(self):
        self._task = asyncio.create_task(self._run())
        return self

    async def __aexit__(self, *exc_info):
        await self.stop()

    async def stop(self):
        self._stopping = True
        async with asyncio.timeout(150):
            await self._task

    async def resumes(self):
        """Wait until one more has been sent, as it must be soon after the broker is back."""
        await self.reaches(1, RESUMPTION)

    async def reaches(self, count, deadline=30.0):
        """Wait until so many more have been sent."""
        goal = len(self.sent) + count
        await until(lambda: len(self.sent) >= goal, deadline)


@contextlib.asynccontextmanager
async def sending(layer, count=3, **options):
    """Several senders at work."""
    async with contextlib.AsyncExitStack() as stack:
        yield [await stack.enter_async_context(Sender(layer, **options)) for _ in range(count)]


async def settle(room, senders):
    """Stop sending, and wait until the last messages have come."""
    for sender in senders:
        await sender.stop()
    for last in await asyncio.gather(*(sender.send_one() for sender in senders)):
        await room.hears(last)


def check_nothing_lost(room, senders):
    """Every message that was sent came once, in the order of its sender; nobody noticed a thing."""
    assert room.connected
    assert not [sender.errors for sender in senders if sender.errors]
    for heard in room.heard():
        assert heard.count("gap") == 0
        for sender in senders:
            assert [n for name, n in heard if name == sender.name] == sender.sent
    assert_balanced(room)


def check_gap_told(room, senders):
    """What was lost was lost around the one gap that each member was told of."""
    if isinstance(room.layer, RedisPubSubChannelLayer):
        check_told(room, senders)
        return
    assert room.connected
    assert not [sender.errors for sender in senders if sender.errors]
    for heard in room.heard():
        assert heard.count("gap") == 1, Counter(heard)["gap"]
        before, after = heard[: heard.index("gap")], heard[heard.index("gap") + 1 :]
        for sender in senders:
            early = [n for name, n in before if name == sender.name]
            late = [n for name, n in after if name == sender.name]
            assert early == sender.sent[: len(early)]
            assert late, "delivery resumed"
            assert late == sender.sent[-len(late) :]
            assert len(early) + len(late) <= len(sender.sent)
    assert_balanced(room)


def assert_balanced(room):
    assert balanced(room.layer), room.layer.statistics
    delivered = sum(len(heard) - heard.count("gap") for heard in room.heard())
    assert room.layer.statistics.delivered == delivered
    assert not room.layer.statistics.dropped


def check_told(room, senders, *, gaps=1, reasons=("unconfirmed",)):
    """Over pub/sub, nothing is missing but around gaps, and nothing came twice.

    Nobody was disconnected.

    Each member was told of as many gaps; with None of any number. What was dropped was dropped for
    one of these reasons.
    """
    assert room.connected
    assert not [sender.errors for sender in senders if sender.errors]
    for heard in room.heard():
        assert gaps is None or heard.count("gap") == gaps
        for sender in senders:
            parts = [
                [n for name, n in part if name == sender.name]
                for is_gap, part in itertools.groupby(heard, lambda item: item == "gap")
                if not is_gap
            ]
            numbers = [n for part in parts for n in part]
            assert numbers == sorted(set(numbers)), "in order, and none twice"
            assert numbers[0] == 0
            assert numbers[-1] == sender.sent[-1]
            for part in parts:
                if part:
                    assert part == list(range(part[0], part[-1] + 1)), "no hole but at a gap"
    check_account(room, senders, reasons)


def check_account(room, senders, reasons=("unconfirmed",)):
    layers = {room.layer, *(sender.layer for sender in senders)}
    assert all(balanced(layer) for layer in layers)
    heard = sum(len(heard) - heard.count("gap") for heard in room.heard())
    assert room.layer.statistics.delivered == heard
    dropped = set().union(*(layer.statistics.dropped for layer in layers))
    assert dropped <= set(reasons)

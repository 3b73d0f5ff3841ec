"""A channel layer as a third party would write it, and the conformance suite over it."""

import asyncio
import contextlib
import threading
import time
import unittest
import uuid
from collections import Counter, defaultdict, deque
from functools import partial

import msgspec

from channels._runtime.buckets import Buckets
from channels.exceptions import ChannelFull
from channels.layers import BaseChannelLayer
from channels.layers.delays import require_period, when
from channels.layers.states import LocalStates, require_state_expiry
from channels.testing.conformance import LayerConformance


class Broker:
    """What a broker keeps: queues of encoded messages with their expiry, and groups."""

    def __init__(self):
        self.lock = threading.RLock()
        self.queues = defaultdict(deque)
        self.groups = defaultdict(dict)
        self.states = LocalStates()
        self.buckets = Buckets()
        self.places = defaultdict(Counter)
        self.restarts = 0
        self.scheduled = {}


class MinimalLayer(BaseChannelLayer):
    """Knows send, receive, new_channel and group_*; polls; does not call super().__init__()."""

    extensions = ("groups",)

    def __init__(self, broker=None, expiry=60, capacity=100, channel_capacity=None):
        self.broker = broker or Broker()
        self.expiry = expiry
        self.capacity = capacity
        self.channel_capacity = self.compile_capacities(channel_capacity or {})

    def encode(self, message):
        if not isinstance(message, dict):
            raise TypeError("A message is a dict.")
        try:
            return msgspec.msgpack.encode(message)
        except (OverflowError, RecursionError) as error:
            raise ValueError(str(error)) from error

    def decode(self, data):
        return msgspec.msgpack.decode(data)

    def key(self, channel):
        return channel

    def put(self, channel, data):
        with self.broker.lock:
            queue = self.broker.queues[self.key(channel)]
            self.expire(queue)
            if len(queue) >= self.get_capacity(channel):
                raise ChannelFull(f"{channel} is full.")
            queue.append((time.monotonic() + self.expiry, data))

    def take(self, channel):
        with self.broker.lock:
            queue = self.broker.queues[self.key(channel)]
            self.expire(queue)
            return queue.popleft()[1] if queue else None

    def expire(self, queue):
        while queue and queue[0][0] <= time.monotonic():
            queue.popleft()

    def members(self, group):
        return list(self.broker.groups.get(group, ()))

    async def send(self, channel, message):
        self.require_valid_channel_name(channel)
        self.put(channel, self.encode(message))

    async def receive(self, channel):
        self.require_valid_channel_name(channel)
        while (data := self.take(channel)) is None:
            await asyncio.sleep(0.001)
        return self.decode(data)

    async def new_channel(self, prefix="specific"):
        return f"{prefix}.minimal!{uuid.uuid4().hex}"

    async def group_add(self, group, channel):
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.broker.groups[group][channel] = True

    async def group_discard(self, group, channel):
        self.require_valid_group_name(group)
        self.require_valid_channel_name(channel)
        self.broker.groups[group].pop(channel, None)

    async def group_send(self, group, message):
        self.require_valid_group_name(group)
        data = self.encode(message)
        with self.broker.lock:
            for channel in self.members(group):
                self.place(channel, data)

    def place(self, channel, data):
        with contextlib.suppress(ChannelFull):
            self.put(channel, data)


class FullLayer(MinimalLayer):
    """The optional rest: states, flush, aclose, statistics, delayed messages."""

    extensions = ("groups", "flush")
    supports_state = True
    supports_delayed = True
    supports_tokens = supports_places = True

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        self.process = uuid.uuid4().hex
        self.untold = Counter()
        self.statistics = Counts(self.broker)

    def put(self, channel, data):
        super().put(channel, data)
        self.statistics.sent += 1

    def place(self, channel, data):
        try:
            self.put(channel, data)
        except ChannelFull:
            self.statistics.sent += 1
            self.statistics.dropped["capacity"] += 1

    def take(self, channel):
        self.send_due()
        data = super().take(channel)
        self.statistics.delivered += data is not None
        return data

    def expire(self, queue):
        before = len(queue)
        super().expire(queue)
        self.statistics.dropped["expired"] += before - len(queue)

    async def set_state(self, collection, field, value, expiry, *, revision=None):
        self.require_valid_state_name(collection, field)
        require_state_expiry(expiry)
        copy = partial(self.decode, self.encode(value))
        states, capacity = self.broker.states, self.state_capacity
        return states.set(collection, field, copy, expiry, revision, capacity)

    async def take_tokens(self, key, *, rate, burst, least=1.0, most=None):
        self.require_valid_bucket(key, rate, burst)
        most = least if most is None else most
        return self.broker.buckets.take_some(key, 1 / rate, burst, least, most)

    async def take_places(self, places):
        for name, most in places.items():
            self.require_valid_place(name)
            if self.held(name) >= most:
                return name
        self.broker.places[self.process].update(list(places))
        return None

    def held(self, name):
        return self.untold[name] + sum(held[name] for held in self.broker.places.values())

    def add_places(self, names):
        """Others hear of it late, as over a network."""
        added = Counter(names)
        self.untold += added
        asyncio.get_running_loop().call_later(0.03, self.tell, added)

    def tell(self, added):
        self.untold -= added
        self.broker.places[self.process].update(added)

    def give_places(self, names):
        self.broker.places[self.process].subtract(list(names))

    async def get_states(self, collection):
        self.require_valid_state_name(collection)
        found = self.broker.states.get(collection)
        return {field: value() for field, value in found.items()}

    async def get_state(self, collection, field):
        return (await self.get_states(collection)).get(field)

    async def delete_state(self, collection, field):
        self.broker.states.delete(collection, field)

    # Later: whoever receives sends what is due.

    def schedule(self, key, send, name, message, due, period=0):
        former = self.broker.scheduled.get(key)
        if former is not None and former[1] == period:
            due = former[0]
        self.broker.scheduled[key] = (due, period, send, name, self.encode(message))

    def send_due(self):
        with self.broker.lock:
            waiting = sorted(self.broker.scheduled.items(), key=lambda item: item[1][0])
            for key, (due, period, send, name, data) in waiting:
                if due <= time.time():
                    del self.broker.scheduled[key]
                    if period:
                        self.broker.scheduled[key] = (due + period, period, send, name, data)
                    for channel in self.members(name) if send == "group_send" else [name]:
                        self.place(channel, data)

    async def send_later(self, channel, message, *, delay=None, at=None):
        self.require_valid_channel_name(channel)
        return self.handle("send", channel, message, when(delay, at))

    async def group_send_later(self, group, message, *, delay=None, at=None):
        self.require_valid_group_name(group)
        return self.handle("group_send", group, message, when(delay, at))

    def handle(self, send, name, message, due):
        handle = f"minimal.{uuid.uuid4().hex}"
        self.schedule(handle, send, name, message, time.time() + due.from_now())
        return handle

    async def cancel_later(self, handle):
        if not handle.startswith("minimal."):
            raise ValueError("This is no handle.")
        return self.broker.scheduled.pop(handle, None) is not None

    async def send_every(self, seconds, channel, message, *, name):
        period = require_period(seconds)
        self.schedule(name, "send", channel, message, time.time() + period, period)

    async def group_send_every(self, seconds, group, message, *, name):
        period = require_period(seconds)
        self.schedule(name, "group_send", group, message, time.time() + period, period)

    async def cancel_every(self, name):
        return self.broker.scheduled.pop(name, None) is not None

    async def flush(self):
        self.broker.queues.clear()
        self.broker.groups.clear()
        self.broker.states.clear()

    async def aclose(self):
        self.broker.places.pop(self.process, None)


class Counts:
    def __init__(self, broker):
        self.broker = broker
        self.sent = self.delivered = 0
        self.dropped = defaultdict(int)

    @property
    def pending(self):
        return sum(len(queue) for queue in self.broker.queues.values())


class Hooks:
    """How the suite makes these layers."""

    layer_class = MinimalLayer
    keeps_named_channels = True
    short_expiry = 0.3

    def make_layer(self, **config):
        return self.layer_class(**config)

    def make_peer(self, layer, **config):
        return self.layer_class(broker=layer.broker, **config)

    async def restart_broker(self, layer):
        layer.broker.restarts += 1


class Suite(Hooks, LayerConformance, unittest.IsolatedAsyncioTestCase):
    """The suite as unittest runs it."""


TEST_NAMES = sorted(name for name in dir(LayerConformance) if name.startswith("test_"))


def run(layer_class, names=TEST_NAMES, **attributes):
    """Run tests of the suite over a layer; return the names that failed and that were skipped."""
    suite = type("Suite", (Suite,), {"layer_class": layer_class, **attributes})
    result = unittest.TestResult()
    for name in names:
        suite(name).run(result)
    failed = {test._testMethodName for test, _ in result.failures + result.errors}
    return failed, {test._testMethodName for test, _ in result.skipped}

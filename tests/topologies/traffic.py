"""Numbered messages that flow while something happens to the servers, and what became of them."""

import asyncio
import time
import uuid
from collections import defaultdict

from channels.generic.websocket import AsyncWebsocketConsumer
from channels.layers import channel_layers
from channels.layers.redis import RedisChannelLayer
from channels.testing import WebsocketCommunicator

GROUPS = 8


class Listener(AsyncWebsocketConsumer):
    """One connected consumer, and what it was told."""

    traffic = None

    async def connect(self):
        for group in self.traffic.groups:
            await self.channel_layer.group_add(group, self.channel_name)
        await self.accept()
        self.traffic.channels.append(self.channel_name)

    async def disconnect(self, code):
        self.traffic.channels.remove(self.channel_name)

    async def traffic_message(self, event):
        self.traffic.received[self.channel_name, event["stream"]].append(event["number"])

    async def layer_gap(self, event):
        self.traffic.gaps[self.channel_name].append(event["reason"])


class Traffic:
    """One process sends, two have a consumer each. Use it as an asynchronous context manager.

    There are as many groups as partitions of a cluster, with each consumer in all of them, and each
    consumer's channel gets messages of its own too. Every sender awaits one message before it sends
    the next.

    Args:
        hosts: of the layers.
        layer_class: of the layers.
        pause: seconds between two messages of one stream.
    """

    def __init__(self, hosts, layer_class=RedisChannelLayer, pause=0.01):
        self.prefix = uuid.uuid4().hex
        options = {"prefix": self.prefix, "capacity": 10_000}
        self.sender = layer_class(hosts, **options)
        self.receivers = [layer_class(hosts, **options) for _ in range(2)]
        self.groups = [f"group-{number}" for number in range(GROUPS)]
        #: Of the consumers that are connected.
        self.channels = []
        #: The numbers that a call has returned for, by stream.
        self.sent = defaultdict(list)
        #: What arrived, in order, by channel and stream.
        self.received = defaultdict(list)
        #: What each consumer was told about gaps.
        self.gaps = defaultdict(list)
        self._pause = pause
        self._clients = []
        self._senders = []
        self._stopping = False

    async def __aenter__(self):
        for number, layer in enumerate(self.receivers):
            alias = f"receiver-{number}"
            channel_layers.set(alias, layer)
            attributes = {"channel_layer_alias": alias, "traffic": self}
            client = WebsocketCommunicator(type("Ear", (Listener,), attributes).as_asgi(), "/")
            assert (await client.connect(timeout=10))[0]
            self._clients.append(client)
        self._senders = [
            asyncio.create_task(self._send(self.sender.group_send, group)) for group in self.groups
        ] + [asyncio.create_task(self._send(self.sender.send, c)) for c in self.channels]
        await self.flows(within=10)
        return self

    async def __aexit__(self, *error):
        await self._stop_sending()
        connected = len(self.channels)
        for client in self._clients:
            await client.disconnect(timeout=10)
        for number, layer in enumerate(self.receivers):
            channel_layers.set(f"receiver-{number}", None)
            await layer.aclose()
        await self.sender.aclose()
        if error == (None, None, None):
            assert connected == len(self.receivers), "a consumer was disconnected"

    async def _send(self, send, name):
        number = 0
        while not self._stopping:
            number += 1
            await send(name, {"type": "traffic.message", "stream": name, "number": number})
            self.sent[name].append(number)
            await asyncio.sleep(self._pause)

    async def _stop_sending(self):
        """Let each message that is being sent be counted; one that cannot be sent is given up."""
        senders, self._senders = self._senders, []
        self._stopping = True
        late = (await asyncio.wait(senders, timeout=10))[1] if senders else ()
        for task in late:
            task.cancel()
        outcomes = await asyncio.gather(*senders, return_exceptions=True)
        for outcome in outcomes:
            if outcome is not None and not isinstance(outcome, asyncio.CancelledError):
                raise outcome

    def streams(self):
        """Every channel, and every stream that it should get."""
        return [(c, stream) for c in self.channels for stream in (*self.groups, c)]

    async def flows(self, within):
        """Wait until every consumer gets new messages of every stream."""
        start = time.monotonic()
        before = {stream: len(self.sent[stream]) + 2 for _, stream in self.streams()}

        def behind():
            return [
                key
                for key in self.streams()
                if not self.received[key] or self.received[key][-1] < before[key[1]]
            ]

        while missing := behind():
            for task in self._senders:
                if task.done():
                    task.result()
            waited = time.monotonic() - start
            assert waited < within, f"nothing new after {waited:.1f} s in {len(missing)} streams"
            await asyncio.sleep(0.02)

    async def settle(self):
        """Stop sending, and wait until what was sent last has arrived."""
        await self._stop_sending()
        deadline = time.monotonic() + 10
        while any(self.received[c, s][-1] < self.sent[s][-1] for c, s in self.streams()):
            assert time.monotonic() < deadline, "what was sent last has not arrived"
            await asyncio.sleep(0.01)

    def lost(self):
        """How many messages each consumer never got although the call had returned."""
        lost = dict.fromkeys(self.channels, 0)
        for channel, stream in self.streams():
            lost[channel] += len(set(self.sent[stream]) - set(self.received[channel, stream]))
        return lost

    def assert_in_order_and_once(self):
        for key in self.streams():
            numbers = self.received[key]
            assert numbers == sorted(set(numbers)), key

    def assert_nothing_lost(self):
        assert self.lost() == dict.fromkeys(self.channels, 0)
        assert not self.gaps

    def assert_told_of_losses(self):
        for channel, count in self.lost().items():
            assert not count or self.gaps[channel], channel

"""The Redis layer keeps every promise on every server, on several hosts, and encrypted."""

import asyncio
import uuid
from contextlib import ExitStack

import pytest

from channels.layers.redis import RedisChannelLayer
from channels.testing.conformance import LayerConformance

from ...brokers import Broker, running


class RedisConformance(LayerConformance):
    servers: tuple[str, ...] = ("valkey",)
    options: dict = {}
    keeps_named_channels = True
    # On the other servers and with other options the laws are the same; see TestValkey.
    law_examples = 15

    brokers: list[Broker]

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _brokers(cls):
        with ExitStack() as stack:
            cls.brokers = [stack.enter_context(running(name)) for name in cls.servers]
            yield

    def make_layer(self, **config):
        return self.connect(uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return self.connect(layer.prefix, **config)

    def connect(self, prefix, **config):
        hosts = [broker.address for broker in self.brokers]
        return RedisChannelLayer(hosts=hosts, prefix=prefix, **{**self.options, **config})

    async def restart_broker(self, layer):
        for broker in self.brokers:
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)


class TestValkey(RedisConformance):
    law_examples = 50


@pytest.mark.slow  # between the oldest and the newest; half of TestTwoHosts' names are there
class TestRedis7(RedisConformance):
    servers = ("redis",)


class TestRedis62(RedisConformance):
    servers = ("redis-6.2",)


class TestTwoHosts(RedisConformance):
    servers = ("valkey", "redis")


class TestEncryptedJson(RedisConformance):
    options = {"symmetric_encryption_keys": ["new", "old"], "serializer_format": "json"}
    carries_bytes = False

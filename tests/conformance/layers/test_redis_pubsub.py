"""The pub/sub layer keeps every promise on every server, on several hosts, and encrypted."""

import asyncio
import uuid
from contextlib import ExitStack
from unittest import SkipTest

import pytest

from channels.layers.redis import RedisPubSubChannelLayer
from channels.testing.conformance import LayerConformance
from channels.testing.conformance.base import LayerHarness
from channels.testing.conformance.laws import LawTests
from channels.testing.conformance.messages import MessageTests

from ...brokers import Broker, running
from ...topologies.harness import Cluster
from ...topologies.harness import running as serving


class PubSubHarness(LayerHarness):
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
        return RedisPubSubChannelLayer(hosts=hosts, prefix=prefix, **{**self.options, **config})

    async def restart_broker(self, layer):
        if not self.brokers:
            raise SkipTest("Tests of failovers restart clusters.")
        for broker in self.brokers:
            await asyncio.to_thread(broker.kill)
            await asyncio.to_thread(broker.start)


class PubSubConformance(PubSubHarness, LayerConformance):
    pass


class TestValkey(PubSubConformance):
    law_examples = 50


@pytest.mark.slow  # between the oldest and the newest; half of TestTwoHosts' names are there
class TestRedis7(PubSubConformance):
    servers = ("redis",)


class TestRedis62(PubSubConformance):
    servers = ("redis-6.2",)


class TestSharded(PubSubConformance):
    options = {"sharded": True}


class TestTwoHosts(PubSubConformance):
    servers = ("valkey", "redis")


class TestEncrypted(PubSubConformance):
    options = {"symmetric_encryption_keys": ["new", "old"]}


class TestJson(PubSubHarness, MessageTests, LawTests):
    """What depends on the format: the messages themselves, and any history of them."""

    options = {"serializer_format": "json"}
    carries_bytes = False


@pytest.mark.server
class TestCluster(PubSubConformance):
    servers = ()

    @pytest.fixture(autouse=True, scope="class")
    @classmethod
    def _cluster(cls):
        with serving(Cluster(replicas=False)) as cls.cluster:
            yield

    def connect(self, prefix, **config):
        return RedisPubSubChannelLayer(hosts=self.cluster.hosts, prefix=prefix, **config)

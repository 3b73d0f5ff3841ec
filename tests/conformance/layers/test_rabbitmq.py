"""The RabbitMQ layer keeps every promise."""

import asyncio
import uuid

import pytest

from channels.layers.rabbitmq import RabbitMQChannelLayer
from channels.testing.conformance import LayerConformance
from channels.testing.conformance.base import LayerHarness
from channels.testing.conformance.laws import LawTests
from channels.testing.conformance.messages import MessageTests


class RabbitHarness(LayerHarness):
    options: dict = {}
    keeps_named_channels = True
    law_examples = 15
    deadline = 60.0

    @pytest.fixture(autouse=True)
    def _broker(self, request):
        restarts = "restart" in request.node.name
        self.broker = request.getfixturevalue("own_rabbitmq" if restarts else "rabbitmq")

    def make_layer(self, **config):
        return self.connect(uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return self.connect(layer.prefix, **config)

    def connect(self, prefix, **config):
        return RabbitMQChannelLayer(
            urls=self.broker.url, prefix=prefix, **{**self.options, **config}
        )

    async def restart_broker(self, layer):
        await asyncio.to_thread(self.broker.kill)
        await asyncio.to_thread(self.broker.start)


class RabbitConformance(RabbitHarness, LayerConformance):
    pass


class TestRabbitMQ(RabbitConformance):
    pass


class TestEncrypted(RabbitConformance):
    options = {"symmetric_encryption_keys": ["new", "old"]}


@pytest.mark.slow
class TestQuorum(RabbitConformance):
    # RabbitMQ refuses some messages too early or too late.
    options = {"queue_type": "quorum", "capacity": 1000}
    enforces_capacity = False


class TestJson(RabbitHarness, MessageTests, LawTests):
    """What depends on the format: the messages themselves, and any history of them."""

    options = {"serializer_format": "json"}
    carries_bytes = False

"""Several independent servers: everything reaches its recipient, wherever its keys are."""

import asyncio
import uuid
from contextlib import ExitStack

import pytest

from channels.layers.redis import RedisChannelLayer
from channels.testing.conformance import LayerConformance

from ..brokers import running
from .traffic import Traffic

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def brokers():
    with ExitStack() as stack:
        yield [stack.enter_context(running()) for _ in range(3)]


class TestConformance(LayerConformance):
    """On three; tests/conformance has two, of different kinds."""

    keeps_named_channels = True
    # The laws are the same whatever the topology, and are tried more often in tests/conformance.
    law_examples = 15

    @pytest.fixture(autouse=True)
    def _brokers(self, brokers):
        self.hosts = [broker.address for broker in brokers]

    def make_layer(self, **config):
        return RedisChannelLayer(self.hosts, prefix=uuid.uuid4().hex, **config)

    def make_peer(self, layer, **config):
        return RedisChannelLayer(self.hosts, prefix=layer.prefix, **config)


@pytest.mark.parametrize("count", [2, 3])
async def test_whatever_is_sent_directly_arrives(brokers, count):
    """As many channels as it takes to have some on every server, from either process."""
    hosts = [broker.address for broker in brokers][:count]
    prefix = uuid.uuid4().hex
    layers = [RedisChannelLayer(hosts, prefix=prefix) for _ in range(2)]
    channels = [(layer, await layer.new_channel()) for layer in layers for _ in range(50)]
    for sender in layers:
        await asyncio.gather(
            *(sender.send(channel, {"type": "t", "to": channel}) for _, channel in channels)
        )
    async with asyncio.timeout(5):
        for layer, channel in channels:
            for _ in layers:
                assert (await layer.receive(channel))["to"] == channel
    for layer in layers:
        await layer.aclose()
    used = [broker.cli("INFO", "commandstats") for broker in brokers[:count]]
    assert all("cmdstat_evalsha" in stats for stats in used)


async def test_one_that_restarts_does_not_disturb_the_others(brokers):
    """What it held is gone, so consumers are told. It stays in its place: names do not move."""
    async with Traffic([broker.address for broker in brokers]) as traffic:
        await asyncio.to_thread(brokers[1].kill)
        elsewhere = [
            group for group in traffic.groups if traffic.sender.consistent_hash(group) != 1
        ]  # fmt: skip
        seen = {group: len(traffic.sent[group]) for group in elsewhere}
        async with asyncio.timeout(5):
            while any(len(traffic.sent[group]) < seen[group] + 20 for group in elsewhere):
                await asyncio.sleep(0.01)
        await asyncio.to_thread(brokers[1].start)
        await traffic.flows(within=5)
        await traffic.settle()
        traffic.assert_in_order_and_once()
        traffic.assert_told_of_losses()
        assert elsewhere
        for channel in traffic.channels:
            assert len(traffic.gaps[channel]) == 1
            for group in elsewhere:
                assert traffic.received[channel, group] == traffic.sent[group]

"""Transports with a link for each event loop, and with named channels that are looked into."""

import asyncio

import pytest

from channels.exceptions import BrokerUnavailable
from channels.testing.conformance.base import LayerHarness

from ....asgi import until
from .pushing import Hub, make_layer


class TestLinked(LayerHarness):
    @pytest.fixture
    async def layer(self):
        layer = make_layer(Hub())
        yield layer
        await layer.aclose()

    async def test_named_channels(self, layer):
        receiver = asyncio.create_task(self.receive(layer, "jobs"))
        await until(lambda: layer.transport.named)
        await layer.send("jobs", {"type": "job"})
        assert await receiver == {"type": "job"}

    async def test_a_process_listens_while_somebody_waits(self, layer):
        receiver = asyncio.create_task(layer.receive("jobs"))
        await until(layer.transport.is_ready)
        await until(layer.transport.connected_loops)
        assert layer.transport.is_needed()
        await layer.transport.rest()
        assert layer.transport.is_ready()
        receiver.cancel()
        await asyncio.wait([receiver])
        await layer.stop_receiving("jobs")
        assert not layer.transport.is_needed()
        await layer.transport.rest()
        assert not layer.transport.is_ready()

    async def test_nothing_is_to_be_done_where_nothing_was(self, layer):
        await layer.stop_receiving("jobs")
        await layer.transport.rest()
        assert layer.transport.connected_loops() == set()

    async def test_who_waits_is_told_of_the_end(self, layer):
        receiver = asyncio.create_task(layer.receive("jobs"))
        await until(layer.transport.connected_loops)
        await layer.aclose()
        with pytest.raises(BrokerUnavailable):
            await receiver

    async def test_what_was_taken_in_vain_is_given_back(self, layer):
        receiver = asyncio.create_task(layer.receive("jobs"))
        await until(layer.transport.connected_loops)
        await layer.send("jobs", {"type": "job"})
        await asyncio.sleep(0)
        receiver.cancel()
        await asyncio.wait([receiver])
        if not receiver.cancelled():
            await layer.send("jobs", {"type": "job"})
        assert await self.receive(layer, "jobs") == {"type": "job"}

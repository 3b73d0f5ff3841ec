"""A broker for each test, a proxy in front of it, and pub/sub layers that are closed at the end."""

import asyncio

import pytest

from channels.layers.redis import RedisPubSubChannelLayer

from ..brokers import running
from ..proxy import Proxy


@pytest.fixture
def broker():
    with running("valkey") as broker:
        yield broker


@pytest.fixture
async def proxy(broker):
    async with Proxy(broker.address) as proxy:
        yield proxy


@pytest.fixture
async def layers():
    """Makes layers, each as another process would have it, and closes them."""
    made = []

    def make(*addresses, **options):
        options = {"capacity": 100_000, "prefix": "faults", **options}
        made.append(RedisPubSubChannelLayer(hosts=list(addresses), **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))

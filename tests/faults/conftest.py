"""A broker for each test, a proxy in front of it, and layers that are closed at the end.

The environment variable ``CHANNELS_TEST_BROKER`` says which: valkey, redis or redis-6.2.
"""

import asyncio
import os

import pytest

from channels.layers.redis import RedisChannelLayer

from ..brokers import running
from ..proxy import Proxy
from .harness import make_layer


@pytest.fixture
def broker():
    with running(os.environ.get("CHANNELS_TEST_BROKER", "valkey")) as broker:
        yield broker


@pytest.fixture
async def proxy(broker):
    async with Proxy(broker.address) as proxy:
        yield proxy


@pytest.fixture
def layer_class():
    """Which layer it is, unless a test has it as a parameter; see the marks in ``harness``."""
    return RedisChannelLayer


@pytest.fixture
async def layers(layer_class):
    """Makes layers, each as another process would have it, and closes them."""
    made = []

    def make(*addresses, **options):
        made.append(make_layer(*addresses, layer_class=layer_class, **options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))

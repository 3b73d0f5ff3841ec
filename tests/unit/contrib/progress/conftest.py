"""A layer of its own for each test."""

import pytest

from channels.layers import InMemoryChannelLayer, channel_layers


@pytest.fixture(autouse=True)
def use_layer():
    """Puts another layer in the place of the default one; at first, one in memory."""
    before = channel_layers.set("default", InMemoryChannelLayer())

    def use(layer):
        channel_layers.set("default", layer)
        return layer

    yield use
    channel_layers.set("default", before)

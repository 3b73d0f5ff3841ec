import pytest

from channels.layers import InMemoryChannelLayer, channel_layers


@pytest.fixture
def layer():
    """A channel layer of the test's own, as the default one."""
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)

import pytest

from channels.layers import InMemoryChannelLayer
from channels.layers.probe import carries_messages


async def test_a_layer_that_carries_messages():
    layer = InMemoryChannelLayer()
    assert await carries_messages(layer)
    assert layer.channels == {}


async def test_a_layer_that_delivers_something_else():
    class Mixed(InMemoryChannelLayer):
        async def receive(self, channel):
            await super().receive(channel)
            return {"type": "health.probe", "token": "another"}

    assert not await carries_messages(Mixed())


async def test_a_layer_that_fails():
    class Failing(InMemoryChannelLayer):
        async def send(self, channel, message):
            raise OSError("gone")

    with pytest.raises(OSError, match="gone"):
        await carries_messages(Failing())

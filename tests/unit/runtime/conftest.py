import pytest

from channels import signals
from channels.layers import InMemoryChannelLayer, channel_layers


@pytest.fixture
def layer():
    """A channel layer of the test's own, as the default one."""
    layer = InMemoryChannelLayer()
    old = channel_layers.set("default", layer)
    yield layer
    channel_layers.set("default", old)


@pytest.fixture
def heard():
    """Which signals were sent, with what."""
    calls = []
    names = [name for name in signals.__all__ if name != "emit"]

    def listener(name):
        def listen(signal, sender, **arguments):
            calls.append((name, arguments))

        return listen

    listeners = {name: listener(name) for name in names}
    for name in names:
        getattr(signals, name).connect(listeners[name], weak=False)
    yield calls
    for name in names:
        getattr(signals, name).disconnect(listeners[name])

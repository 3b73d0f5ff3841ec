"""A layer with a broker keeps every promise over any transport, such as one of a hundred lines."""

from channels.testing.conformance import LayerConformance

from ...unit.layers.broker.loopback import LoopbackLayer


class TestBrokerLayer(LayerConformance):
    keeps_named_channels = True

    def make_layer(self, **config):
        return LoopbackLayer(**config)

    def make_peer(self, layer, **config):
        return LoopbackLayer(layer.broker, **config)

"""The in-memory layer keeps every promise that applies in one process."""

import unittest

from channels.layers import InMemoryChannelLayer
from channels.testing.conformance import LayerConformance


class TestInMemoryLayer(LayerConformance):
    carries_objects = True

    def make_layer(self, **config):
        return InMemoryChannelLayer(**config)


class InMemoryLayerUnittests(LayerConformance, unittest.IsolatedAsyncioTestCase):
    """The same without pytest's help, and on event loops in debug mode."""

    carries_objects = True
    law_examples = 15

    def make_layer(self, **config):
        return InMemoryChannelLayer(**config)

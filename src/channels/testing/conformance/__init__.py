"""A test suite that any channel layer passes by subclassing it.

It needs ``hypothesis`` (``pip install channels[test]`` brings it). A subclass says how to make a
layer, and gets a test for every promise that layers make. With pytest and pytest-asyncio, in its
``auto`` mode or marked::

    @pytest.mark.asyncio
    class TestMyLayer(LayerConformance):
        def make_layer(self, **config):
            return MyLayer(prefix=uuid4().hex, **config)

With the standard library or Django's test runner::

    class MyLayerTests(LayerConformance, unittest.IsolatedAsyncioTestCase):
        def make_layer(self, **config):
            return MyLayer(prefix=uuid4().hex, **config)

What a layer does not do it says with the attributes of
:class:`~channels.testing.conformance.base.LayerHarness`, such as ``enforces_capacity = False``;
groups and flush are looked up in the layer's ``extensions``, states, token buckets, places and
delayed messages in its attributes ``supports_state``, ``supports_tokens``, ``supports_places`` and
``supports_delayed``. Tests of those are then skipped.
"""

from .base import LayerHarness
from .delayed import DelayedTests
from .groups import GroupTests
from .laws import LawTests
from .lifecycle import LifecycleTests
from .limits import LimitTests
from .messages import MessageTests
from .names import NameTests
from .peers import PeerTests
from .queues import QueueTests
from .sharing import SharingTests
from .states import StateTests

__all__ = ["LayerConformance", "LayerHarness"]


class LayerConformance(
    NameTests,
    MessageTests,
    QueueTests,
    LimitTests,
    GroupTests,
    LifecycleTests,
    PeerTests,
    StateTests,
    SharingTests,
    DelayedTests,
    LawTests,
):
    """Every promise of a channel layer, as tests. Subclass it and define ``make_layer``."""

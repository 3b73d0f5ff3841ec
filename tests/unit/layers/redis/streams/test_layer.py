"""The layer on streams: its well-known name, and its options."""

from channels.layers import BaseChannelLayer
from channels.layers.redis import RedisChannelLayer
from channels_redis.core import RedisChannelLayer as WellKnown


def test_the_layer_has_its_well_known_name_and_options():
    assert WellKnown is RedisChannelLayer
    layer = RedisChannelLayer(
        [("localhost", 6379)], "asgi", 60, 86400, 100, {"http.*": 200}, ["key"], 12, "json"
    )
    assert isinstance(layer, BaseChannelLayer)
    assert layer.get_capacity("http.request") == 200
    assert layer.extensions == ["groups", "flush"]


def test_making_one_connects_to_nothing():
    layer = RedisChannelLayer([("192.0.2.1", 1)])
    assert layer.count_pending() == 0


def test_its_own_options_are_attributes():
    layer = RedisChannelLayer(inbox_capacity=7, lease=8)
    assert (layer.inbox_capacity, layer.lease) == (7, 8)

"""The layer on pub/sub: its well-known name, and its options."""

import pytest

from channels.exceptions import InvalidChannelLayerError
from channels.layers.redis import RedisPubSubChannelLayer
from channels.layers.redis.pubsub.layer import UNCONFIRMED
from channels_redis.pubsub import RedisPubSubChannelLayer as WellKnown


def test_the_layer_has_its_well_known_name_and_options():
    assert WellKnown is RedisPubSubChannelLayer
    layer = WellKnown(
        [("localhost", 6379)], "asgi", print, None, ["key"], "json", {"http.*": 200}, 60, 86400, 9
    )
    assert layer.on_disconnect is print
    assert layer.on_reconnect is None
    assert layer.get_capacity("http.request") == 200
    assert layer.get_capacity("other") == 9
    assert layer.extensions == ["groups", "flush"]
    assert UNCONFIRMED == "unconfirmed"


@pytest.mark.parametrize("option", ["on_disconnect", "on_reconnect"])
def test_a_callback_must_be_callable(option):
    with pytest.raises(InvalidChannelLayerError, match=option):
        RedisPubSubChannelLayer(**{option: "print"})

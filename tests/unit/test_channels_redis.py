"""The well-known import paths and signatures of the package channels_redis."""

import importlib
import inspect

import pytest

import channels
import channels_redis
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

NAMES = {
    "channels_redis.core": ["ChannelFull", "RedisChannelLayer"],
    "channels_redis.pubsub": ["RedisPubSubChannelLayer"],
    "channels_redis.serializers": [
        "BaseMessageSerializer",
        "JSONSerializer",
        "MsgPackSerializer",
        "SerializerDoesNotExist",
        "registry",
    ],
    "channels_redis.utils": ["_consistent_hash"],
}


@pytest.mark.parametrize("module", NAMES)
def test_the_names_are_there(module):
    found = importlib.import_module(module)
    for name in NAMES[module]:
        assert getattr(found, name)
        assert name in found.__all__


def test_they_are_those_of_channels():
    from channels.exceptions import ChannelFull
    from channels.layers.serializers import registry
    from channels_redis import core, pubsub, serializers

    assert core.ChannelFull is ChannelFull
    assert core.RedisChannelLayer is RedisChannelLayer
    assert pubsub.RedisPubSubChannelLayer is RedisPubSubChannelLayer
    assert serializers.registry is registry
    assert channels_redis.__version__ == channels.__version__


@pytest.mark.parametrize(
    ("layer", "options"),
    [
        (
            RedisChannelLayer,
            {
                "hosts": None,
                "prefix": "asgi",
                "expiry": 60,
                "group_expiry": 86400,
                "capacity": 100,
                "channel_capacity": None,
                "symmetric_encryption_keys": None,
                "random_prefix_length": 12,
                "serializer_format": "msgpack",
            },
        ),
        (
            RedisPubSubChannelLayer,
            {
                "hosts": None,
                "prefix": "asgi",
                "on_disconnect": None,
                "on_reconnect": None,
                "symmetric_encryption_keys": None,
                "serializer_format": "msgpack",
                "channel_capacity": None,
            },
        ),
    ],
)
def test_the_options_have_their_order_and_defaults(layer, options):
    parameters = list(inspect.signature(layer).parameters.values())[: len(options)]
    assert {parameter.name: parameter.default for parameter in parameters} == options
    assert [parameter.name for parameter in parameters] == list(options)


@pytest.mark.parametrize("layer", [RedisChannelLayer, RedisPubSubChannelLayer])
def test_a_bare_host_is_refused(layer):
    with pytest.raises(
        ValueError, match=r"You must pass a list of Redis hosts, even if there is only one\."
    ):
        layer(hosts="redis://localhost")


@pytest.mark.parametrize(
    ("value", "ring_size", "expected"),
    [("", 2, 0), ("asgi", 1, 0), (b"room", 3, None), ("room", 3, None)],
)
def test_names_are_spread_by_the_lower_twelve_bits_of_the_crc(value, ring_size, expected):
    from binascii import crc32

    from channels_redis.utils import _consistent_hash

    data = value if isinstance(value, bytes) else value.encode()
    if expected is None:
        expected = int((crc32(data) & 0xFFF) / (4096 / ring_size))
    assert _consistent_hash(value, ring_size) == expected

"""Token buckets at a real server, on both layers, and in memory: they give the same."""

import pytest

from channels.exceptions import NotSupported
from channels.layers import InMemoryChannelLayer
from channels.layers.base import BaseChannelLayer
from channels_redis.core import RedisChannelLayer
from channels_redis.pubsub import RedisPubSubChannelLayer


@pytest.fixture(params=["memory", "streams", "pubsub"])
async def layer(request, shared_broker, prefix):
    classes = {"streams": RedisChannelLayer, "pubsub": RedisPubSubChannelLayer}
    if request.param == "memory":
        yield InMemoryChannelLayer()
        return
    layer = classes[request.param](hosts=[shared_broker.url], prefix=prefix)
    yield layer
    await layer.flush()
    await layer.close_pools()


async def test_as_many_are_taken_as_there_are(layer):
    assert await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7) == (7, 0)
    taken, _ = await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7)
    assert taken == pytest.approx(3, abs=0.01)
    taken, wait = await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7)
    assert (taken, round(wait / 100)) == (0, 10)
    await layer.flush()
    assert await layer.take_tokens("c", rate=0.001, burst=10) == (1, 0)


async def test_a_layer_without_buckets_says_so():
    with pytest.raises(NotSupported, match="BaseChannelLayer keeps no token buckets"):
        await BaseChannelLayer().take_tokens("a", rate=1, burst=1)
    BaseChannelLayer().limit_groups("channel", 1, lambda: None)

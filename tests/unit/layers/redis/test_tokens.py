"""Token buckets at a real server, on both layers, and in memory: they give the same."""

import asyncio

import pytest

from channels.exceptions import InvalidNameError, NotSupported
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


async def test_a_bucket_is_empty_after_its_burst_and_fills_again(layer):
    assert layer.supports_tokens
    for _ in range(3):
        assert await layer.take_tokens("a", rate=20, burst=3) == (1, 0)
    taken, wait = await layer.take_tokens("a", rate=20, burst=3)
    assert taken == 0
    assert 0 < wait <= 0.05
    assert (await layer.take_tokens("b", rate=20, burst=3))[0] == 1
    await asyncio.sleep(wait + 0.01)
    assert (await layer.take_tokens("a", rate=20, burst=3))[0] == 1


async def test_as_many_are_taken_as_there_are(layer):
    assert await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7) == (7, 0)
    taken, _ = await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7)
    assert taken == pytest.approx(3, abs=0.01)
    taken, wait = await layer.take_tokens("c", rate=0.001, burst=10, least=1, most=7)
    assert (taken, round(wait / 100)) == (0, 10)
    await layer.flush()
    assert await layer.take_tokens("c", rate=0.001, burst=10) == (1, 0)


async def test_what_is_no_bucket_is_refused(layer):
    with pytest.raises(InvalidNameError, match="Bucket name must be"):
        await layer.take_tokens("no name", rate=1, burst=1)
    for wrong in ({"rate": 0, "burst": 1}, {"rate": 1, "burst": float("inf")}):
        with pytest.raises(ValueError, match="of tokens must be a number above 0"):
            await layer.take_tokens("a", **wrong)


async def test_processes_together_take_no_more_than_there_is(shared_broker, prefix):
    layers = [RedisChannelLayer(hosts=[shared_broker.url], prefix=prefix) for _ in range(3)]
    taking = [layer.take_tokens("shared", rate=0.001, burst=50, most=3) for layer in layers * 20]
    taken = sum(taken for taken, _ in await asyncio.gather(*taking))
    assert taken == pytest.approx(50, abs=1)
    for layer in layers:
        await layer.flush()
        await layer.close_pools()


async def test_a_layer_without_buckets_says_so():
    with pytest.raises(NotSupported, match="BaseChannelLayer keeps no token buckets"):
        await BaseChannelLayer().take_tokens("a", rate=1, burst=1)
    BaseChannelLayer().limit_groups("channel", 1, lambda: None)

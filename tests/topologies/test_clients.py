"""A client of redis-py, from a layer: it goes where the layer goes."""

import pytest

from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

pytestmark = pytest.mark.server


@pytest.mark.parametrize("kind", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_a_client_reaches_the_master_that_sentinels_name(replicated, kind):
    async with kind(replicated.hosts).connection(0) as client:
        assert (await client.execute_command("ROLE"))[0] == b"master"


async def test_a_client_reaches_the_owner_of_each_part_of_a_cluster(cluster):
    layer = RedisChannelLayer(cluster.hosts, prefix="clients")
    assert layer.ring_size > 1
    for index in range(layer.ring_size):
        async with layer.connection(index) as client:
            assert await client.set(f"{{clients:{index}}}:own", "value")
            assert await client.delete(f"{{clients:{index}}}:own") == 1

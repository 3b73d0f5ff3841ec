"""Groups, as both Redis layers have them: who is a member, for how long, and at what cost."""

import asyncio

import pytest

from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ....asgi import until


@pytest.fixture(params=[RedisChannelLayer, RedisPubSubChannelLayer], ids=["streams", "pubsub"])
async def make(request, shared_broker, prefix):
    """Makes layers of one prefix, each as another process would have it, and closes them."""
    made = []

    def make(**options):
        options = {"hosts": [shared_broker.address], "prefix": prefix, **options}
        made.append(request.param(**options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


def message(n=0):
    return {"type": "test.message", "n": n}


# How long a membership lasts


async def test_a_channel_that_lets_a_message_expire_stays_a_member(make):
    """As one that polls more rarely than messages expire."""
    layer = make(expiry=0.2)
    channel, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(3):
        await layer.group_send("group", message(n))

        async def has_expired(count=n + 1):
            await layer.group_add("other", other)  # any use of the layer drops what has expired
            return layer.statistics.dropped.get("expired", 0) == count

        async with asyncio.timeout(5):
            while not await has_expired():
                await asyncio.sleep(0.05)
    reading = asyncio.create_task(receive(layer, channel))
    await until(layer._here.waiting_loops)
    await layer.group_send("group", message(9))
    assert await reading == message(9)

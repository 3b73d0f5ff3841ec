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
    layer = make(expiry=1)
    channel, other = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("group", channel)
    for n in range(2):
        await layer.group_send("group", message(n))

        async def has_expired(count=n + 1):
            await layer.group_add("other", other)  # any use of the layer drops what has expired
            return layer.statistics.dropped.get("expired", 0) == count

        async with asyncio.timeout(5):
            while not await has_expired():
                await asyncio.sleep(0.05)
    reading = asyncio.create_task(receive(layer, channel))
    await until(layer.local.waiting_loops)
    await layer.group_send("group", message(9))
    assert await reading == message(9)


# Processes that are set differently


async def drain(layer, channel):
    """What waits in a named channel, by number, up to a last one that is sent now."""
    await layer.send(channel, message(-1))
    received = []
    while not received or received[-1] != -1:
        received.append((await receive(layer, channel))["n"])
    return received[:-1]


async def test_a_named_channel_is_a_member_once_whatever_its_capacity(make):
    one, other = make(capacity=7), make(channel_capacity={"named": 9})
    for layer in (one, other):
        await layer.group_add("group", "named")
    for n, layer in enumerate((one, other)):
        await layer.group_send("group", message(n))
    assert await drain(one, "named") == [0, 1]
    await other.group_discard("group", "named")
    for layer in (one, other):
        await layer.group_send("group", message())
    assert await drain(one, "named") == []


async def test_the_senders_capacity_counts_for_a_named_channel(make):
    tight, roomy = make(channel_capacity={"named": 1}), make(capacity=3)
    await tight.group_add("group", "named")
    for n in range(5):
        await roomy.group_send("group", message(n))
    await tight.group_send("group", message(9))
    assert (tight.statistics.dropped, roomy.statistics.dropped) == (
        {"capacity": 1},
        {"capacity": 2},
    )
    assert [(await receive(tight, "named"))["n"] for _ in range(3)] == [0, 1, 2]
    await tight.group_send("group", message(9))
    assert await receive(roomy, "named") == message(9)


async def test_nobody_shortens_the_membership_of_a_named_channel(make):
    lasting, brief = make(), make(group_expiry=0.05)
    for layer in (lasting, brief):
        await layer.group_add("group", "named")
    await asyncio.sleep(0.1)
    await lasting.group_send("group", message(1))
    assert await receive(lasting, "named") == message(1)


async def test_nobody_shortens_the_life_of_a_message_in_a_named_channel(make):
    lasting, brief = make(), make(expiry=0.05)
    await lasting.group_add("group", "named")
    await lasting.send("named", message(1))
    await lasting.group_send("group", message(2))
    await asyncio.sleep(0.1)
    await brief.send("named", message(3))
    await brief.group_send("group", message(4))
    assert await drain(brief, "named") == [1, 2, 3, 4]
    assert brief.statistics.dropped == {}


# Thousands at once

MANY = 12_000  # more than may wait for a connection


def left_behind(redis, prefix):
    """The groups that the server still knows members of, in either way."""
    keys = redis.scan_iter(f"{{{prefix}:*:group:many-*", count=10_000)
    return [*keys, *redis.pubsub_channels(f"*{prefix}*:group:many-*")]


async def converse(layer, channel, over):
    """Send to a group, again and again until ``over``, and receive each message."""
    count = 0
    while not over.is_set():
        await layer.group_send("talk", message(count))
        assert await receive(layer, channel) == message(count)
        count += 1
    return count


@pytest.mark.parametrize("hosts", [1, 3])
async def test_thousands_of_groups_are_joined_and_left_at_once(
    make, redis, prefix, shared_broker, hosts
):
    layer = make(hosts=[shared_broker.address] * hosts)
    channel, talker = await layer.new_channel(), await layer.new_channel()
    await layer.group_add("talk", talker)
    over = asyncio.Event()
    talk = asyncio.create_task(converse(layer, talker, over))
    names = [f"many-{n}" for n in range(MANY)]
    await asyncio.gather(*(layer.group_add(name, channel) for name in names))
    assert len(left_behind(redis, prefix)) == MANY
    await asyncio.gather(*(layer.group_discard(name, channel) for name in names))
    await until(lambda: not left_behind(redis, prefix))
    over.set()
    assert await talk > 1


async def test_a_consumer_in_thousands_of_groups_ends(make, redis, prefix):
    layer = make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    talker = await layer.new_channel()
    await layer.group_add("talk", talker)
    names = [f"many-{n}" for n in range(MANY)]
    await asyncio.gather(*(layer.group_add(name, mailbox.channel) for name in names))
    over = asyncio.Event()
    talk = asyncio.create_task(converse(layer, talker, over))
    await mailbox.close()
    await until(lambda: not left_behind(redis, prefix))
    over.set()
    await talk


async def test_a_named_channel_joins_and_leaves_thousands_of_groups(make, redis, prefix):
    layer = make()
    names = [f"many-{n}" for n in range(MANY)]
    await asyncio.gather(*(layer.group_add(name, "named") for name in names))
    await layer.group_send(names[-1], message(1))
    assert await receive(layer, "named") == message(1)
    await asyncio.gather(*(layer.group_discard(name, "named") for name in names))
    assert not redis.keys(f"{{{prefix}:0}}:*many-*")

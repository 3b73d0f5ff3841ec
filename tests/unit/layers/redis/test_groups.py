"""Groups of both Redis layers: which processes are members, how long, and at what cost."""

import asyncio

import pytest

from channels.exceptions import BrokerError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer
from channels.layers.redis.connection import commands
from channels.layers.redis.keys import consistent_hash

from ....asgi import until
from ....proxy import Proxy


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


@pytest.fixture
def layer(make):
    return make()


@pytest.fixture
def members(redis, prefix):
    """How many processes the server knows to be members of a group, in either way."""

    def members(group="group", *, partition=0):
        name = f"{{{prefix}:{partition}}}:group:{group}"
        ((_, subscribed),) = redis.pubsub_numsub(name)
        return subscribed + (redis.zcard(name) if redis.type(name) == b"zset" else 0)

    return members


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


def message(n=0):
    return {"type": "test.message", "n": n}


# Which processes are members


async def test_a_process_is_a_member_once_until_its_last_channel_leaves(layer, members):
    channels = [await layer.new_channel() for _ in range(3)]
    assert members() == 0
    for channel in channels:
        await layer.group_add("group", channel)
        assert members() == 1
    for channel in channels[:2]:
        await layer.group_discard("group", channel)
    assert members() == 1
    await layer.group_discard("group", channels[2])
    await until(lambda: members() == 0)


async def test_channels_that_join_at_once_are_all_members(layer, members):
    channels = [await layer.new_channel() for _ in range(5)]
    await asyncio.gather(*(layer.group_add("group", channel) for channel in channels))
    assert members() == 1
    await layer.group_send("group", message())
    for channel in channels:
        assert await receive(layer, channel) == message()


async def test_the_process_leaves_as_its_last_consumer_ends(layer, members):
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)
    await mailbox.close()
    await until(lambda: members() == 0)


async def test_joining_and_leaving_at_once_ends_as_it_was_asked(layer, members):
    first, second = await layer.new_channel(), await layer.new_channel()
    for n in range(30):
        await layer.group_add("group", first)
        await asyncio.gather(layer.group_discard("group", first), layer.group_add("group", second))
        await layer.group_send("group", message(n))
        assert await receive(layer, second) == message(n)
        await layer.group_discard("group", second)
    await until(lambda: members() == 0)
    assert layer.statistics.delivered == 30


async def test_a_channel_that_joins_as_the_last_member_ends_is_a_member(layer):
    for n in range(10):
        mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
        channel = await layer.new_channel()
        await layer.group_add("group", mailbox.channel)
        await mailbox.close()
        await layer.group_add("group", channel)
        await asyncio.sleep(0)  # the loop's turn, in which the process would leave
        await layer.group_send("group", message(n))
        assert await receive(layer, channel) == message(n)
        await layer.group_discard("group", channel)


async def test_a_cancelled_join_leaves_nothing_behind(layer, members):
    channel = await layer.new_channel()
    for turns in range(6):
        joining = asyncio.create_task(layer.group_add("group", channel))
        for _ in range(turns):
            await asyncio.sleep(0)
        joining.cancel()
        await asyncio.wait((joining,))
        assert joining.cancelled()
        assert not layer.local.is_member("group", channel)
        await until(lambda: members() == 0)


async def test_a_join_that_is_refused_says_why_and_leaves_nothing_behind(
    make, redis, shared_broker, prefix, base, members
):
    host, port = shared_broker.address
    redis.execute_command(
        "ACL", "SETUSER", prefix, "on", "nopass", "resetkeys", f"~{base}:[^g]*", "+@all",
        "resetchannels", f"&{base}:process:*",
    )  # fmt: skip
    layer = make(hosts=[f"redis://{prefix}:any@{host}:{port}"])
    channel, other = await layer.new_channel(), await layer.new_channel()
    try:
        joins = (layer.group_add("group", name) for name in (channel, other))
        for result in await asyncio.gather(*joins, return_exceptions=True):
            assert isinstance(result, BrokerError)
            assert "refused a" in str(result)
        assert not layer.local.has_members("group")
        redis.execute_command("ACL", "SETUSER", prefix, "allkeys", "allchannels")
        await layer.group_add("group", channel)
        assert members() == 1
        await layer.aclose()
    finally:
        redis.execute_command("ACL", "DELUSER", prefix)


async def test_another_process_lets_a_channel_join_and_leave(make, members):
    here, there = make(), make()
    channel = await here.new_channel()
    await there.group_add("group", channel)
    await until(lambda: members() == 1)
    await there.group_send("group", message(1))
    assert await receive(here, channel) == message(1)
    await there.group_discard("group", channel)
    await until(lambda: members() == 0)
    await there.group_send("group", message(2))
    await there.send(channel, message(3))
    assert await receive(here, channel) == message(3)


async def test_groups_are_where_their_names_say(make, shared_broker, members):
    layer = make(hosts=[shared_broker.address] * 3)
    channel = await layer.new_channel()
    groups = [f"group-{n}" for n in range(20)]
    for group in groups:
        await layer.group_add(group, channel)
    for group in groups:
        for partition in range(3):
            there = partition == consistent_hash(group, 3)
            assert members(group, partition=partition) == there


async def test_closing_leaves_every_group(layer, members):
    channel = await layer.new_channel()
    groups = [f"group-{n}" for n in range(100)]
    await asyncio.gather(*(layer.group_add(group, channel) for group in groups))
    await layer.aclose()
    assert not any(map(members, groups))


async def test_a_server_that_is_silent_is_told_of_the_end_when_it_answers_again(
    make, shared_broker, members
):
    async with Proxy(shared_broker.address) as proxy:
        layer = make(hosts=[proxy.address])
        mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
        groups = [f"group-{n}" for n in range(50)]
        await asyncio.gather(*(layer.group_add(group, mailbox.channel) for group in groups))
        proxy.stall()
        await mailbox.close()
        assert members(groups[-1]) == 1
        proxy.flow()
        await until(lambda: not any(map(members, groups)))
        await layer.aclose()


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


async def test_a_shorter_group_expiry_does_not_shorten_the_membership_of_a_named_channel(make):
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

MANY = 3_000


@pytest.fixture
def many_are_more_than_may_wait(monkeypatch):
    """For a connection. The limit that it has takes four times as many, and as long."""
    monkeypatch.setattr(commands, "MAX_WAITING", MANY - 500)


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


@pytest.mark.usefixtures("many_are_more_than_may_wait")
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


@pytest.mark.usefixtures("many_are_more_than_may_wait")
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


@pytest.mark.usefixtures("many_are_more_than_may_wait")
async def test_a_named_channel_joins_and_leaves_thousands_of_groups(make, redis, prefix):
    layer = make()
    names = [f"many-{n}" for n in range(MANY)]
    await asyncio.gather(*(layer.group_add(name, "named") for name in names))
    await layer.group_send(names[-1], message(1))
    assert await receive(layer, "named") == message(1)
    await asyncio.gather(*(layer.group_discard(name, "named") for name in names))
    assert not redis.keys(f"{{{prefix}:0}}:*many-*")

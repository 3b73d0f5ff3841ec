"""What is the stream layer's own, beyond what the conformance suite asks of every layer."""

import asyncio

import pytest

from channels.exceptions import ChannelFull
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection import raw
from channels.layers.redis.scripts import SCRIPTS

from .....asgi import until
from .....proxy import Proxy
from ...helpers import balanced


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(**options):
        options = {"hosts": [shared_broker.address], "prefix": prefix, **options}
        made.append(RedisChannelLayer(**options))
        return made[-1]

    yield make
    await asyncio.gather(*(layer.aclose() for layer in made))


async def receive(layer, channel):
    async with asyncio.timeout(5):
        return await layer.receive(channel)


def message(n=0):
    return {"type": "test.message", "n": n}


async def test_the_layer_works_without_hiredis(make, monkeypatch, redis):
    monkeypatch.setattr(raw, "Reader", None)
    monkeypatch.setattr(raw, "_pack", None)
    here, there = make(), make()
    channels = [await layer.new_channel() for layer in (here, there)]
    for layer, channel in zip((here, there), channels, strict=True):
        await layer.group_add("group", channel)
    for n in range(200):
        if n % 50 == 25:
            redis.execute_command("CLIENT", "KILL", "TYPE", "normal", "SKIPME", "yes")
        await here.group_send("group", message(n))
        for layer, channel in zip((here, there), channels, strict=True):
            assert await receive(layer, channel) == message(n)


async def test_a_member_keeps_its_mailbox_until_some_time_after_it_leaves(make, clock):
    layer = make(expiry=10)
    channel = await layer.new_channel()
    await layer.group_add("group", channel)
    await layer.group_send("group", message())
    await receive(layer, channel)
    await layer.group_send("group", message())
    await receive(layer, channel)
    assert layer.local.has_mailbox(channel)
    await layer.group_discard("group", channel)
    clock.advance(11)
    await layer.group_add("group", await layer.new_channel())
    assert not layer.local.has_mailbox(channel)


async def test_there_is_an_inbox_on_each_server(make, shared_broker, redis, prefix):
    layer = make(hosts=[shared_broker.address] * 3)
    await layer.new_channel()
    inboxes = [f"{{{prefix}:{n}}}:inbox:{layer.client_prefix}" for n in range(3)]
    assert redis.exists(*inboxes) == 3
    await layer.aclose()
    assert not redis.exists(*inboxes)


async def test_a_full_inbox_refuses_sends_and_counts_what_groups_lose(make, redis, base):
    here, there = make(inbox_capacity=5), make(inbox_capacity=5)
    channel = await here.new_channel()
    await here.group_add("group", channel)
    (reader,), inbox = here.transport.receiver.readers, f"{base}:inbox:{here.client_prefix}"
    await reader.stop()  # as a process that is too busy to read
    for _ in range(5):
        redis.xadd(inbox, {"h": ""})
    with pytest.raises(ChannelFull, match="5 messages"):
        await there.send(channel, message())
    await there.group_send("group", message())
    redis.xtrim(inbox, maxlen=0, approximate=False)
    reader.start()
    await until(lambda: here.statistics.dropped == {"capacity": 1})
    await there.send(channel, message(7))
    assert await receive(here, channel) == message(7)
    assert balanced(here)
    assert balanced(there)


async def test_what_a_full_inbox_missed_is_counted_and_told_when_the_connection_broke_since(
    make, redis, base
):
    """Registering anew renews the lease, and learns of it first."""
    here, there = make(inbox_capacity=5), make(inbox_capacity=5)
    member = here.open_mailbox(await here.new_channel(), lambda: None)
    stranger = here.open_mailbox(await here.new_channel(), lambda: None)
    await here.group_add("group", member.channel)
    (reader,), inbox = here.transport.receiver.readers, f"{base}:inbox:{here.client_prefix}"
    await reader.stop()
    for _ in range(5):
        redis.xadd(inbox, {"h": ""})
    for _ in range(3):
        await there.group_send("group", message())
    reader.start()
    await until(lambda: here.statistics.dropped == {"capacity": 3})
    assert member.take() == {"type": "layer.gap", "reason": "the inbox was full"}
    assert member.take() is None, "one gap for all"
    assert stranger.take() is None, "it can have missed nothing"
    for _ in range(3):  # they are counted once
        reader.reset()
        await until(lambda: reader._connection is None)
        await until(lambda: reader._connection is not None)
    assert here.statistics.dropped == {"capacity": 3}
    await here.flush()
    await here.group_add("group", member.channel)
    await reader.stop()
    for _ in range(5):
        redis.xadd(inbox, {"h": ""})
    await there.group_send("group", message())
    reader.start()
    await until(lambda: here.statistics.dropped == {"capacity": 4})
    assert balanced(here)
    for mailbox in (member, stranger):
        await mailbox.close()


async def test_a_membership_lasts_as_long_as_the_lease(make, redis, base):
    layer = make(lease=60)
    await layer.group_add("group", await layer.new_channel())
    key = f"{base}:group:group"
    ((member, until_when),) = redis.zrange(key, 0, -1, withscores=True)
    assert member == f"p:{layer.client_prefix}".encode()
    assert 0 < until_when - redis.time()[0] * 1000 <= 61_000
    assert 0 < redis.pttl(key) <= 60_000


async def test_an_invitation_outlives_the_lease(make):
    here, there = make(lease=0.6), make(lease=0.6)
    channel = await here.new_channel()
    await there.group_add("group", channel)
    await asyncio.sleep(1.2)
    await there.group_send("group", message())
    assert await receive(here, channel) == message()


async def test_a_consumer_is_told_of_a_gap_once(make, redis, base, monkeypatch):
    monkeypatch.setattr("channels.layers.redis.streams.inbox._BLOCK", 0.1)
    layer = make()
    told = asyncio.Event()
    mailbox = layer.open_mailbox(await layer.new_channel(), told.set)
    redis.delete(f"{base}:inbox:{layer.client_prefix}")
    async with asyncio.timeout(5):
        await told.wait()
    assert mailbox.take() == {"type": "layer.gap", "reason": "the inbox was gone"}
    assert mailbox.take() is None
    await mailbox.close()


async def test_members_are_told_when_the_key_of_their_group_is_gone(make, redis, base, caplog):
    layer = make(lease=0.9)
    members = {name: layer.open_mailbox(await layer.new_channel(), lambda: None) for name in "abc"}
    for group, member in members.items():
        await layer.group_add(group, member.channel)
    redis.delete(f"{base}:group:a", f"{base}:group:c")
    await until(lambda: members["a"].gap and members["c"].gap)
    assert members["a"].take() == {"type": "layer.gap", "reason": "a group was gone"}
    assert members["b"].gap is None
    assert "Messages to 2 groups may have been lost, such as a:" in caplog.text
    await layer.group_send("a", message(1))
    await until(members["a"].qsize)
    assert members["a"].take() == message(1), "it is a member again"
    caplog.clear()
    for _ in range(2):
        redis.pexpire(f"{base}:inbox:{layer.client_prefix}", 60_000)
        await until(lambda: redis.pttl(f"{base}:inbox:{layer.client_prefix}") <= 900)
    assert members["a"].gap is None, "told once"
    assert not caplog.text
    for member in members.values():
        await member.close()


async def test_a_reconnect_notices_that_a_group_is_gone(make, redis, base):
    layer = make()
    names = [await layer.new_channel() for _ in range(2)]
    member, other = (layer.open_mailbox(name, lambda: None) for name in names)
    await layer.group_add("group", member.channel)
    redis.delete(f"{base}:group:group")
    for reader in layer.transport.receiver.readers:
        reader.reset()
    await until(lambda: member.gap)
    assert member.gap == "a group was gone"
    assert other.gap is None
    for mailbox in (member, other):
        await mailbox.close()


async def test_nobody_misses_a_group_that_was_left_when_the_server_says_that_it_is_gone(
    make, base, caplog
):
    """It is left between the renewal of the lease and the answer."""
    layer = make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    for group in ("left", "kept"):
        await layer.group_add(group, mailbox.channel)
    await layer.group_discard("left", mailbox.channel)
    layer.transport.inbox_groups_missing(0, [f"{base}:group:left".encode()])
    assert mailbox.gap is None
    assert "may have been lost" not in caplog.text
    await mailbox.close()


async def test_joining_while_the_lease_is_renewed_tells_of_no_gap(make, shared_broker, redis):
    renewals = 0

    def notice(data):
        nonlocal renewals
        renewals += SCRIPTS["renew"].sha.encode() in data

    async def keep_joining(layer, channel, name):
        number = 0
        while renewals < 3:
            await layer.group_add(f"{name}-{number}", channel)
            number += 1

    async with Proxy(shared_broker.address) as proxy:
        proxy.on_request = notice
        layer = make(hosts=[proxy.address], lease=3)
        mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
        async with asyncio.timeout(30):
            await asyncio.gather(*(keep_joining(layer, mailbox.channel, n) for n in range(10)))
        assert mailbox.gap is None
        await mailbox.close()
        await layer.aclose()


async def test_what_is_left_while_the_lease_is_renewed_is_not_joined_again(
    make, shared_broker, redis, base
):
    async with Proxy(shared_broker.address) as proxy:
        layer = make(hosts=[proxy.address], lease=6)
        mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
        names = [f"group-{n}" for n in range(2500)]
        await asyncio.gather(*(layer.group_add(name, mailbox.channel) for name in names))
        renewing = asyncio.Event()

        def notice(data):
            if SCRIPTS["renew"].sha.encode() in data:
                renewing.set()

        proxy.on_request = notice
        await renewing.wait()  # for the first thousand
        await mailbox.close()
        keys = [f"{base}:group:{name}" for name in names]
        await until(lambda: not redis.exists(*keys), deadline=4)  # less than the lease
        await layer.aclose()


async def test_messages_lost_with_the_inbox_take_up_no_room(make, redis, base, monkeypatch):
    monkeypatch.setattr("channels.layers.redis.streams.inbox._BLOCK", 0.1)
    layer = make(capacity=3)
    channel = await layer.new_channel()
    inbox = f"{base}:inbox:{layer.client_prefix}"
    for _ in range(5):
        sends = [asyncio.create_task(layer.send(channel, message())) for _ in range(3)]
        await asyncio.wait(sends)
        redis.delete(inbox)
        await until(lambda: redis.exists(inbox))
        while layer.count_pending():
            await receive(layer, channel)
    for _ in range(3):
        await layer.send(channel, message())
    await until(lambda: layer.count_pending() == 3)
    with pytest.raises(ChannelFull):
        await layer.send(channel, message())


async def test_flush_leaves_no_key_but_the_inbox_and_no_gap(make, redis, base, prefix):
    layer, other = make(), make()
    mailbox = layer.open_mailbox(await layer.new_channel(), lambda: None)
    await layer.group_add("group", mailbox.channel)
    await layer.send("named", message())
    await layer.flush()
    inbox = f"{base}:inbox:{layer.client_prefix}"
    assert set(redis.keys(f"{{{prefix}:*")) <= {inbox.encode(), f"{base}:sender".encode()}
    for reader in layer.transport.receiver.readers:
        reader.reset()
    await other.send(mailbox.channel, message(1))
    await until(mailbox.qsize)
    assert mailbox.take() == message(1), "and no gap"
    await mailbox.close()


async def test_rubbish_in_the_inbox_is_counted_and_disturbs_nobody(make, redis, base):
    layer = make()
    channel = await layer.new_channel()
    inbox = f"{base}:inbox:{layer.client_prefix}"
    for field, data in (
        (b"x", b"what"),
        (b"", b""),
        (b"j\xff", b"c"),
        (b"jbad name!", b"c"),
        (b"cnamed-channel", b"x"),
        (b"lgroup", b"not\xff"),
    ):
        redis.xadd(inbox, {field: data})
    await layer.send(channel, message(7))
    assert await receive(layer, channel) == message(7)
    assert layer.statistics.dropped == {"undecodable": 6}
    assert balanced(layer)


async def test_what_has_expired_in_a_named_channel_of_a_group_is_counted(make):
    layer = make(expiry=0.05, capacity=1)
    await layer.group_add("group", "named")
    await layer.group_send("group", message(1))

    async def sent_again():
        await layer.group_send("group", message(2))
        return "expired" in layer.statistics.dropped

    async with asyncio.timeout(5):
        while not await sent_again():
            await asyncio.sleep(0.02)
    assert layer.statistics.dropped["expired"] == 1

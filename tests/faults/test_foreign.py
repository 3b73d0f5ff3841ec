"""What somebody else put under our keys: it is counted, and harms nobody else."""

import asyncio
import logging

import pytest

from channels.exceptions import BrokerError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ..asgi import until
from .harness import GROUP, Room, Sender, balanced, check_gap_told, check_nothing_lost

BASE = "{faults:0}"
RUBBISH = [
    [b"g" + GROUP.encode(), b"no message"],
    [b"g" + GROUP.encode(), b""],
    [b"g" + GROUP.encode(), b"\xa3abc"],  # MessagePack, but no dict
    [b"gnobody-is-in-it", b"no message"],
    [b"g\xff", b"x"],
    [b"cforeign-channel", b"x"],
    [b"c\xff\xfe", b"x"],
    [b"c", b"x"],
    [b"?", b"x"],
    [b"", b""],
    [b"\x00\xff" * 100, b"x" * 10_000],
    [b"jroom", b"not a channel"],
    [b"jnot a group", b"channel"],
    [b"j\xff", b"\xff"],
    [b"l", b""],
    [b"field", b"value", b"and", b"more"],
]


def inbox_of(layer):
    return f"{BASE}:inbox:{layer.client_prefix}"


async def test_rubbish_in_an_inbox_is_counted_and_harms_nobody(layers, broker, caplog):
    here = layers(broker.address)
    async with Room(here) as room:
        sender = Sender(layers(broker.address))
        await room.hears(await sender.send_one())
        for entry in RUBBISH:
            broker.cli("XADD", inbox_of(here), "*", *entry)
            await room.hears(await sender.send_one())
        assert room.connected
        # Three to the group count for each member; one was for a group that is not here.
        assert here.statistics.dropped == {"undecodable": 3 * 3 + len(RUBBISH) - 4}
        assert balanced(here)
        for heard in room.heard():
            assert [n for _, n in heard] == sender.sent
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_rubbish_in_a_queue_is_counted_and_harms_nobody(layers, broker, caplog):
    layer = layers(broker.address)
    for entry in RUBBISH:
        broker.cli("XADD", f"{BASE}:queue:jobs", "*", *entry)
    await layer.send("jobs", {"type": "job"})
    async with asyncio.timeout(5):
        assert await layer.receive("jobs") == {"type": "job"}
    assert layer.statistics.dropped == {"undecodable": len(RUBBISH)}
    assert balanced(layer)
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


NO_MEMBERS = [
    b"", b"\xff", b"p", b"p:", b"p:\xff\xfe", b"p:nobody", b"q:", b"q:\xff", b"q:two words", b"r:",
    b"r:\xff", b"r:two words", b"r:a!b", b"x:y", b"q:100:old", b"r:100:old", b"\x00" * 5000,
]  # fmt: skip


@pytest.mark.parametrize("kind", ["group", "named"])
@pytest.mark.parametrize("layer_class", [RedisChannelLayer, RedisPubSubChannelLayer])
async def test_rubbish_among_the_members_of_a_group_harms_nobody(layer_class, kind, broker, caplog):
    here, there = (layer_class([broker.address], prefix="faults") for _ in range(2))
    async with Room(here) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        for member in NO_MEMBERS:
            broker.cli("ZADD", f"{BASE}:{kind}:{GROUP}", 10**14, member)
            await room.hears(await sender.send_one())
        assert not sender.errors
        assert room.connected
        assert balanced(here)
        assert balanced(there)
        assert not here.statistics.dropped
        assert not here.statistics.dropped.keys() - {"undecodable"}
    await here.aclose()
    await there.aclose()
    assert not [r for r in caplog.records if r.levelno >= logging.ERROR]


async def test_something_else_in_place_of_an_inbox_makes_way(layers, broker, monkeypatch):
    monkeypatch.setattr("channels.layers.redis.streams.inbox._BLOCK", 0.2)
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        broker.cli("SET", inbox_of(here), "something else")
        await until(lambda: room.gaps() == [1, 1, 1])
        await room.hears(await sender.send_one())
        check_gap_told(room, [sender])


async def test_one_broken_inbox_does_not_stop_a_group(layers, broker):
    here, there, broken = (layers(broker.address) for _ in range(3))
    await broken.group_add(GROUP, await broken.new_channel())
    async with Room(here) as room:
        broker.cli("SET", inbox_of(broken), "something else")
        sender = Sender(there)
        await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])


async def test_something_else_in_place_of_a_group_is_an_error_for_its_users_only(layers, broker):
    here, there = layers(broker.address, lease=0.9), layers(broker.address)
    broker.cli("SET", f"{BASE}:group:broken", "something else")
    channel = await here.new_channel()
    with pytest.raises(BrokerError, match="should hold a group"):
        await here.group_add("broken", channel)
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await there.group_send("broken", {"type": "news"})
    broker.cli("DEL", f"{BASE}:group:broken")
    await here.group_add("broken", channel)
    async with Room(here) as room:
        broker.cli("SET", f"{BASE}:group:broken", "something else")
        await asyncio.sleep(1.5)  # longer than the lease, which is renewed for the other group
        assert 0 < broker.cli("PTTL", f"{BASE}:group:{GROUP}") <= 900
        sender = Sender(there)
        await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])
        broker.cli("DEL", f"{BASE}:group:broken")
        await asyncio.sleep(0.5)  # it is renewed
        await there.group_send("broken", {"type": "news"})
        async with asyncio.timeout(5):
            assert await here.receive(channel) == {"type": "news"}


async def test_something_else_in_place_of_a_queue_is_an_error_until_it_is_gone(layers, broker):
    layer = layers(broker.address)
    broker.cli("SET", f"{BASE}:queue:jobs", "something else")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await layer.send("jobs", {"type": "job"})
    async with asyncio.timeout(5):
        with pytest.raises(BrokerError, match="WRONGTYPE"):
            await layer.receive("jobs")
    await layer.group_add(GROUP, "jobs")
    await layer.group_send(GROUP, {"type": "job"})
    assert layer.statistics.dropped == {"capacity": 1}
    broker.cli("DEL", f"{BASE}:queue:jobs")
    await layer.send("jobs", {"type": "job"})
    async with asyncio.timeout(5):
        assert await layer.receive("jobs") == {"type": "job"}


async def test_a_sender_with_another_key_is_not_understood_and_disturbs_nobody(layers, broker):
    here = layers(broker.address, symmetric_encryption_keys=["right"])
    there = layers(broker.address, symmetric_encryption_keys=["right"])
    wrong = layers(broker.address, symmetric_encryption_keys=["wrong"])
    plain = layers(broker.address)
    async with Room(here) as room:
        sender = Sender(there)
        for _ in range(5):
            await room.hears(await sender.send_one())
            for stranger in (wrong, plain):
                await stranger.group_send(GROUP, {"type": "news", "sender": "evil", "n": 0})
                await stranger.send(room.channels[0], {"type": "news", "sender": "evil", "n": 0})
        await room.hears(await sender.send_one())
        assert room.connected
        assert here.statistics.dropped == {"undecodable": 5 * 2 * (3 + 1)}
        assert balanced(here)
        for heard in room.heard():
            assert heard == [(sender.name, n) for n in sender.sent]

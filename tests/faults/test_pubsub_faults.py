"""Broken connections under load: repaired, told once to whoever may have missed something.

What arrives, arrives once and in order. What a break interrupted on its way out is counted.
"""

import asyncio

import pytest

from ..asgi import until
from ..brokers import running
from .harness import (
    Room,
    Sender,
    balanced,
    check_account,
    check_told,
    pubsub,
    restart,
    sending,
    settle,
)

pytestmark = pubsub


async def test_a_process_that_sends_to_itself_survives_a_restart(layers, broker):
    layer = layers(broker.address)
    async with Room(layer) as room, sending(layer) as senders:
        await senders[0].reaches(50)
        await restart(broker, 1)
        await senders[0].reaches(50)
        await settle(room, senders)
        check_told(room, senders)


async def test_killed_subscribers_come_back_and_senders_notice_nothing(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        for count in (1, 2):
            await senders[0].reaches(50)
            assert broker.cli("CLIENT", "KILL", "TYPE", "pubsub") == 1
            await until(lambda count=count: room.gaps() == [count] * 3)
        await settle(room, senders)
        check_told(room, senders, gaps=2)
        assert not there.statistics.dropped


@pytest.mark.parametrize("reset", [True, False])
async def test_cut_connections_are_repaired(layers, broker, proxy, reset):
    here, there = layers(proxy.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        proxy.cut(reset=reset)
        await until(lambda: room.gaps() == [1, 1, 1])
        await settle(room, senders)
        check_told(room, senders)
        assert not there.statistics.dropped


async def test_an_outage_of_many_failed_attempts_is_one_gap(layers, broker, proxy):
    async with Room(layers(proxy.address)) as room:
        before = proxy.connections
        proxy.refuse()
        await until(lambda: proxy.connections > before + 5)
        assert room.gaps() == [0, 0, 0], "told when it is repaired, so that one can catch up then"
        proxy.accept()
        await until(lambda: room.gaps() == [1, 1, 1])
        await room.hears(await Sender(room.layer).send_one())


async def test_cut_senders_count_what_is_unconfirmed_and_send_nothing_twice(layers, broker, proxy):
    here, there = layers(broker.address), layers(proxy.address)
    async with Room(here) as room, sending(there) as senders:
        for _ in range(5):
            await senders[0].reaches(50)
            proxy.cut()
        await settle(room, senders)
        for heard in room.heard():
            for sender in senders:
                got = [item for item in heard if item != "gap"]
                numbers = [n for name, n in got if name == sender.name]
                assert numbers == sorted(set(numbers))
        got = len(room.heard()[0]) - room.gaps()[0]
        lost = sum(len(sender.sent) for sender in senders) - got
        unconfirmed = there.statistics.dropped.get("unconfirmed", 0)
        assert 0 <= lost <= unconfirmed <= 5 * len(senders)
        await until(lambda: all(bool(unconfirmed) <= gaps <= 5 for gaps in room.gaps()))
        check_account(room, senders)


async def test_what_was_published_but_not_confirmed_comes_once(layers, broker, proxy):
    here, there = layers(broker.address), layers(proxy.address)
    async with Room(here) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())

        def cut(data):
            proxy.on_reply = None
            proxy.cut()

        proxy.on_reply = cut
        await room.hears(await sender.send_one())
        await room.hears(await sender.send_one())
        await until(lambda: room.gaps() == [1, 1, 1])
        for heard in room.heard():
            heard.remove("gap")
            assert heard == [(sender.name, n) for n in range(3)]
        assert there.statistics.dropped == {"unconfirmed": 1}
        assert balanced(there)


async def test_a_consumer_that_may_have_missed_a_direct_message_is_told(layers, broker, proxy):
    here, there = layers(broker.address), layers(proxy.address)
    async with Room(here, members=2) as room:
        sender = Sender(there, channel=room.channels[0])
        await sender.send_one()
        await until(lambda: len(room.heard()[0]) == 1)

        def cut(data):
            if b"news" in data:
                proxy.on_request = None
                proxy.cut()

        proxy.on_request = cut
        await sender.send_one()
        assert there.statistics.dropped == {"unconfirmed": 1}
        await until(lambda: room.gaps() == [1, 0], 15)


async def test_an_idle_sender_loses_nothing_to_a_restart(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        await restart(broker, 0)
        await until(lambda: room.gaps() == [1, 1, 1])
        await room.hears(await sender.send_one())
        assert not there.statistics.dropped


@pytest.mark.slow
async def test_a_silent_connection_is_given_up(layers, broker, proxy):
    async with Room(layers(proxy.address)) as room:
        (subscription,) = room.layer.transport.receiver.readers
        proxy.stall()
        await until(lambda: not subscription.up, 12)
        proxy.flow()
        await until(lambda: room.gaps() == [1, 1, 1], 12)
        await room.hears(await Sender(room.layer).send_one())


async def test_direct_messages_survive_a_restart(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here, members=1) as room:
        for layer in (there, here):
            async with sending(layer, channel=room.channels[0], pause=0.001) as senders:
                gaps = room.gaps()[0]
                await senders[0].reaches(30)
                await restart(broker, 0.2)
                await until(lambda gaps=gaps: room.gaps() == [gaps + 1])
                await senders[0].reaches(30)
                await settle(room, senders)
        assert room.connected
        assert balanced(here)
        assert balanced(there)
        assert {*here.statistics.dropped, *there.statistics.dropped} <= {"unconfirmed", "closed"}


async def test_only_those_concerned_are_told(layers):
    """With two servers, one of which loses its subscribers."""
    with running("valkey") as first, running("valkey") as second:
        layer = layers(first.address, second.address)
        async with Room(layer, members=8) as room:
            group_is_on = layer.consistent_hash("room")
            (other, name) = ((second, 1), (first, 0))[group_is_on]
            other.cli("CLIENT", "KILL", "TYPE", "pubsub")
            concerned = [layer.consistent_hash(channel) == name for channel in room.channels]
            await until(lambda: [gap == 1 for gap in room.gaps()] == concerned)
            await room.hears(await Sender(layer).send_one())
            assert room.gaps() == [int(it) for it in concerned]


async def test_callbacks_are_called_once_for_each_break(layers, broker):
    calls = []

    async def on_reconnect():
        await asyncio.sleep(0)
        calls.append("reconnect")

    layer = layers(
        broker.address, on_disconnect=lambda: calls.append("disconnect"), on_reconnect=on_reconnect
    )
    await layer.new_channel()
    assert calls == []
    for count in (1, 2):
        broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        await until(lambda count=count: calls == ["disconnect", "reconnect"] * count)
    await layer.aclose()
    assert len(calls) == 4

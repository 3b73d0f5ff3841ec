"""What happens to the broker: restarts, a pause, no memory, no scripts, no keys, no speed."""

import asyncio
import logging

import pytest

from channels.exceptions import BrokerError
from channels.layers.redis import RedisChannelLayer, RedisPubSubChannelLayer

from ..asgi import until
from ..brokers import running
from .harness import (
    RESUMPTION,
    Room,
    Sender,
    both_layers,
    check_gap_told,
    check_nothing_lost,
    check_told,
    restart,
    sending,
    settle,
)

# With "everysec", a server that is killed while its disk is slow forgets what it has answered.
PERSISTENT = ("--appendonly", "yes", "--appendfsync", "always")


@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_restart_of_a_broker_that_keeps_its_data_loses_nothing(layers, seconds):
    with running("valkey", *PERSISTENT) as broker:
        here, there = layers(broker.address), layers(broker.address)
        async with Room(here) as room, sending(there) as senders:
            await senders[0].reaches(50)
            await restart(broker, seconds)
            await senders[0].resumes()
            await senders[0].reaches(50)
            await settle(room, senders)
            check_nothing_lost(room, senders)


@both_layers
@pytest.mark.parametrize("seconds", [1, pytest.param(10, marks=pytest.mark.slow)])
async def test_a_restart_of_a_broker_that_forgets_is_told_once(layers, broker, seconds):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        await restart(broker, seconds)
        await asyncio.gather(
            until(lambda: room.gaps() == [1, 1, 1], RESUMPTION), senders[0].resumes()
        )
        await senders[0].reaches(50)
        await settle(room, senders)
        check_gap_told(room, senders)


@both_layers
async def test_three_restarts_are_three_gaps(layers, broker):
    async with Room(layers(broker.address)) as room:
        for count in (1, 2, 3):
            await restart(broker, 0)
            await until(lambda count=count: room.gaps() == [count] * 3)
        assert room.connected


@pytest.mark.parametrize(
    "layer_class",
    [RedisChannelLayer, pytest.param(RedisPubSubChannelLayer, marks=pytest.mark.slow)],
    ids=["streams", "pubsub"],
)
async def test_a_pause_of_eight_seconds_loses_nothing_or_is_told(layers, broker, layer_class):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(50)
        broker.pause()
        await asyncio.sleep(8)
        broker.resume()
        await senders[0].resumes()
        await senders[0].reaches(50)
        await settle(room, senders)
        if layer_class is RedisChannelLayer:
            check_nothing_lost(room, senders)
        else:
            gaps = room.gaps()[0]
            assert gaps <= 1
            check_told(room, senders, gaps=gaps)


async def test_a_full_broker_says_so_and_recovers(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        broker.cli("CONFIG", "SET", "maxmemory-policy", "noeviction")
        broker.cli("CONFIG", "SET", "maxmemory", 1)
        for send in (
            there.group_send("room", {"type": "news"}),
            there.send(room.channels[0], {"type": "news"}),
            there.send("queue", {"type": "news"}),
            there.group_add("other", "queue"),
        ):
            with pytest.raises(BrokerError, match="out of memory"):
                await send
        broker.cli("CONFIG", "SET", "maxmemory", 0)
        await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])


async def test_forgotten_scripts_are_taught_again(layers, broker):
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        for _ in range(20):
            broker.cli("SCRIPT", "FLUSH")
            await senders[0].reaches(5)
        await settle(room, senders)
        check_nothing_lost(room, senders)


async def test_a_slow_broker_loses_nothing(layers, proxy):
    proxy.latency = 0.1  # each way
    here, there = layers(proxy.address), layers(proxy.address)
    async with Room(here) as room, sending(there, 20) as senders:
        await senders[0].reaches(5, 15)
        await settle(room, senders)
        check_nothing_lost(room, senders)


async def test_losing_all_keys_is_told_once_and_membership_comes_back(layers, broker):
    here, there = layers(broker.address, lease=1.5), layers(broker.address)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(20)
        broker.cli("FLUSHALL")
        await until(lambda: room.gaps() == [1, 1, 1], 10)
        await settle(room, senders)
        check_gap_told(room, senders)


async def test_a_quiet_process_notices_that_its_inbox_is_gone(layers, broker, monkeypatch):
    """Long before its lease would be renewed."""
    monkeypatch.setattr("channels.layers.redis.streams.inbox._BLOCK", 0.2)
    here, there = layers(broker.address), layers(broker.address)
    async with Room(here) as room:
        broker.cli("FLUSHALL")
        await until(lambda: room.gaps() == [1, 1, 1], 3)
        sender = Sender(there)
        await room.hears(await sender.send_one())
        check_gap_told(room, [sender])


async def test_a_restart_loses_and_repeats_nothing_of_a_queue(layers):
    with running("valkey", *PERSISTENT) as broker:
        workers = [layers(broker.address), layers(broker.address)]
        received = []

        async def work(layer):
            while True:
                message = await layer.receive("jobs")
                received.append((message["sender"], message["n"]))

        tasks = [asyncio.create_task(work(layer)) for layer in workers]
        try:
            async with sending(layers(broker.address), channel="jobs") as senders:
                for _ in range(3):
                    await senders[0].reaches(50)
                    await restart(broker, 0.2)
                await senders[0].reaches(50)
            sent = [(sender.name, n) for sender in senders for n in sender.sent]
            await until(lambda: len(received) >= len(sent), 30)
        finally:
            for task in tasks:
                task.cancel()
            await asyncio.wait(tasks)
        assert not [sender.errors for sender in senders if sender.errors]
        assert sorted(received) == sorted(sent)


async def test_the_log_tells_that_the_broker_is_away_and_that_it_is_back(layers, broker, caplog):
    caplog.set_level(logging.INFO, "channels.layers")

    def told(text):
        return [r for r in caplog.records if r.name == "channels.layers" and text in r.message]

    async with Room(layers(broker.address)) as room:
        await asyncio.to_thread(broker.kill)
        await until(lambda: told("receiving does not work"), 10)
        assert not told("answers again: receiving works")
        await asyncio.to_thread(broker.start)
        await until(lambda: told("answers again: receiving works"), 10)
        assert (
            len(told("receiving does not work")) == len(told("answers again: receiving works")) == 1
        )
        assert room.connected

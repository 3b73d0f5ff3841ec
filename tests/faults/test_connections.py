"""A connection that breaks, in whatever state, loses nothing and repeats nothing."""

import asyncio
import random
from collections import Counter

import pytest

from channels.exceptions import ChannelFull

from ..asgi import until
from ..ports import free_port
from ..proxy import Proxy
from .harness import Room, Sender, balanced, check_nothing_lost, make_layer, sending, settle

CUTS = 200


@pytest.fixture
async def other_proxy(broker):
    async with Proxy(broker.address) as proxy:
        yield proxy


async def cut_often(proxies, seed):
    """Cut hundreds of times: some connections or all, gently or not, at any moment."""
    chance = random.Random(seed)
    cuts = 0
    while cuts < CUTS:
        await asyncio.sleep(chance.expovariate(1 / 0.01))
        proxy = chance.choice(proxies)
        cuts += proxy.cut(reset=chance.random() < 0.7, share=chance.random(), chance=chance)
    return cuts


async def test_hundreds_of_cuts_under_load_lose_nothing_of_a_group(layers, proxy, other_proxy):
    here, there = layers(proxy.address), layers(other_proxy.address)
    async with Room(here) as room, sending(there) as senders, sending(here, 2) as own:
        async with asyncio.timeout(20):
            await cut_often([proxy, other_proxy], 1)
        senders += own
        await settle(room, senders)
        check_nothing_lost(room, senders)


async def test_hundreds_of_cuts_under_load_lose_nothing_of_a_channel(layers, proxy, other_proxy):
    here, there = layers(proxy.address), layers(other_proxy.address)
    async with Room(here, 1) as room:
        (channel,) = room.channels
        async with (
            sending(there, channel=channel) as senders,
            sending(here, 2, channel=channel) as own,
        ):
            async with asyncio.timeout(20):
                await cut_often([proxy, other_proxy], 2)
            senders += own
            await settle(room, senders)
            check_nothing_lost(room, senders)


async def test_hundreds_of_cuts_lose_nothing_of_a_queue(layers, proxy, other_proxy):
    """Two processes send to a named channel, and two others share the work."""
    workers = [layers(proxy.address), layers(other_proxy.address)]
    sources = [layers(proxy.address), layers(other_proxy.address)]
    received = [[], []]

    async def work(layer, done):
        while True:
            message = await layer.receive("jobs")
            done.append((message["sender"], message["n"]))

    tasks = [asyncio.create_task(work(*pair)) for pair in zip(workers, received, strict=True)]
    try:
        senders = [Sender(source, channel="jobs") for source in sources]
        async with asyncio.timeout(20), senders[0], senders[1]:
            await cut_often([proxy, other_proxy], 3)
        sent = [(sender.name, n) for sender in senders for n in sender.sent]
        await until(lambda: len(received[0]) + len(received[1]) >= len(sent), 10)
    finally:
        for task in tasks:
            task.cancel()
        await asyncio.wait(tasks)
    assert Counter(received[0] + received[1]) == Counter(sent)
    for done in received:
        for sender in senders:
            own = [n for name, n in done if name == sender.name]
            assert own == sorted(own)
    assert not [sender.errors for sender in senders if sender.errors]
    assert all(map(balanced, workers))


# States of a connection


async def test_a_reset_of_an_idle_connection_goes_unnoticed(layers, broker, proxy):
    async with Room(layers(proxy.address)) as room:
        sender = Sender(layers(broker.address))
        for _ in range(5):
            await until(lambda: proxy.open)
            proxy.cut()
            await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])


class CutWhen:
    """Cuts all connections the first few times that something passes; does ``then`` after it."""

    def __init__(self, proxy, times, part=b"", then=lambda: None):
        self.proxy = proxy
        self.times = times
        self.part = part
        self.then = then

    def __call__(self, data):
        if self.times and self.part in data:
            self.times -= 1
            self.proxy.cut()
            self.then()


@pytest.mark.parametrize("direction", ["on_request", "on_reply"])
@pytest.mark.parametrize("burst", [1, 700])
async def test_a_reset_around_the_execution_of_sends(layers, broker, proxy, direction, burst):
    """Before the server has them, and after it carried them out but before it could say so."""
    async with Room(layers(broker.address)) as room:
        sender = Sender(layers(proxy.address))
        await room.hears(await sender.send_one())  # connected, and the scripts are known
        for _ in range(3):
            cut = CutWhen(proxy, 2)
            setattr(proxy, direction, cut)
            await asyncio.gather(*(sender.send_one() for _ in range(burst)))
            assert cut.times == 0
        sender.sent.sort()
        await room.hears((sender.name, sender.sent[-1]))
        check_nothing_lost(room, [sender])


@pytest.mark.parametrize("part", [b"SETINFO", b"LOAD"])
async def test_a_reset_while_connecting_or_teaching_scripts(layers, broker, proxy, part):
    async with Room(layers(broker.address)) as room:
        sender = Sender(layers(proxy.address))
        broker.cli("SCRIPT", "FLUSH")
        cut = proxy.on_request = CutWhen(proxy, 3, part)
        await room.hears(await sender.send_one())
        assert cut.times == 0
        check_nothing_lost(room, [sender])


@pytest.mark.parametrize("part", [b"EVAL", b"XREAD"])
@pytest.mark.parametrize("direction", ["on_request", "on_reply"])
async def test_a_reset_while_a_process_registers_or_reads(layers, broker, proxy, direction, part):
    proxy.on_request = CutWhen(proxy, 3, part)
    async with Room(layers(proxy.address)) as room:
        sender = Sender(layers(broker.address))
        await room.hears(await sender.send_one())
        for times in range(4):
            setattr(proxy, direction, CutWhen(proxy, times, part if "req" in direction else b""))
            proxy.cut()
            await room.hears(await sender.send_one())
        check_nothing_lost(room, [sender])


async def test_a_network_that_swallows_everything_for_a_while(layers, broker, proxy, monkeypatch):
    """No reset tells of it: only the answers do not come."""
    monkeypatch.setattr("channels.layers.redis.streams.inbox._BLOCK", 0.2)
    monkeypatch.setattr("channels.layers.redis.streams.inbox._GRACE", 0.3)
    host = {"address": proxy.address, "socket_timeout": 0.3}
    here, there = layers(host), layers(host)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(20)
        for _ in range(3):
            proxy.stall()
            await asyncio.sleep(0.8)
            proxy.cut()  # what was under way never arrives
            proxy.flow()
            await senders[0].reaches(20)
        proxy.stall()
        await asyncio.sleep(0.8)
        proxy.flow()  # what was under way arrives late, beside its repetition
        await senders[0].reaches(20)
        await settle(room, senders)
        check_nothing_lost(room, senders)


async def test_a_broker_that_refuses_connections_for_a_while(layers, proxy):
    here, there = layers(proxy.address), layers(proxy.address)
    async with Room(here) as room, sending(there) as senders:
        await senders[0].reaches(20)
        proxy.refuse()
        await asyncio.sleep(2)
        proxy.accept()
        await senders[0].reaches(20, 5)
        await settle(room, senders)
        check_nothing_lost(room, senders)


# Refusals whose answer got lost


async def test_a_refusal_stays_a_refusal_when_its_answer_is_lost(layers, broker, proxy):
    sender, reader = layers(proxy.address, capacity=1), layers(broker.address)
    await sender.send("jobs", {"type": "first"})
    await sender.send("other", {"type": "first"})
    assert (await reader.receive("other"))["type"] == "first"
    await until(lambda: broker.cli("XLEN", "{faults:0}:queue:other") == 0)
    cut = proxy.on_reply = CutWhen(proxy, 2)
    # In one pipeline: the second is carried out after the first has been refused.
    outcomes = await asyncio.gather(
        sender.send("jobs", {"type": "refused"}),
        sender.send("other", {"type": "second"}),
        return_exceptions=True,
    )
    assert cut.times == 0
    assert isinstance(outcomes[0], ChannelFull)
    assert outcomes[1] is None
    assert (await reader.receive("other"))["type"] == "second"
    assert (await reader.receive("jobs"))["type"] == "first"
    with pytest.raises(TimeoutError):
        async with asyncio.timeout(0.2):
            await reader.receive("jobs")


async def test_a_drop_is_counted_once_when_its_answer_is_lost(layers, broker, proxy):
    sender = layers(proxy.address, capacity=1)
    await sender.group_add("room", "jobs")
    await sender.group_send("room", {"type": "kept"})
    cut = proxy.on_reply = CutWhen(proxy, 2)
    await sender.group_send("room", {"type": "dropped"})
    assert cut.times == 0
    assert sender.statistics.dropped == {"capacity": 1}
    assert balanced(sender)


async def test_an_unreachable_broker_is_reported_after_the_patience(broker, proxy):
    from channels.exceptions import BrokerUnavailable
    from channels.layers.redis.connection.commands import CommandConnection

    layer = make_layer(proxy.address)
    proxy.refuse()
    connection = CommandConnection(layer.servers[0], "sender", patience=0.5)
    with pytest.raises(BrokerUnavailable, match=r"did not answer for 0\.5 seconds"):
        await connection.call("PING")
    proxy.accept()
    assert await connection.call("PING") == b"PONG"
    await connection.aclose()


async def test_a_repeat_to_a_server_that_lost_its_memory_is_not_delivered_twice(
    layers, broker, proxy
):
    sender, reader = layers(proxy.address), layers(broker.address)
    channel = await reader.new_channel()
    await reader.group_add("room", channel)
    inbox = f"{{faults:0}}:inbox:{reader.client_prefix}"
    for send, where in ((sender.send, channel), (sender.group_send, "room")):
        await send(where, {"type": "known"})
        assert (await reader.receive(channel))["type"] == "known"
        proxy.on_reply = lambda data: proxy.refuse()  # the answer gets lost
        sending = asyncio.create_task(send(where, {"type": "once"}))
        assert (await reader.receive(channel))["type"] == "once"
        broker.cli("FLUSHALL")
        reader.transport.receiver.readers[0].reset()
        await until(lambda: broker.cli("EXISTS", inbox))
        await until(lambda: broker.cli("EXISTS", "{faults:0}:group:room"))
        proxy.on_reply = None
        proxy.accept()
        await sending  # it was carried out again
        assert broker.cli("XLEN", inbox) == 2
        await send(where, {"type": "next"})
        assert (await reader.receive(channel))["type"] == "next"
        assert balanced(reader)


@pytest.mark.parametrize("burst", [1, 700])
async def test_a_repeat_to_a_server_that_forgot_the_scripts_is_not_delivered_twice(
    layers, broker, proxy, burst
):
    """As one that keeps its data does when it restarts before it has answered."""
    async with Room(layers(broker.address)) as room:
        sender = Sender(layers(proxy.address))
        await room.hears(await sender.send_one())
        for _ in range(3):
            cut = proxy.on_reply = CutWhen(proxy, 1, then=lambda: broker.cli("SCRIPT", "FLUSH"))
            await asyncio.gather(*(sender.send_one() for _ in range(burst)))
            assert cut.times == 0
        sender.sent.sort()
        await room.hears((sender.name, sender.sent[-1]))
        check_nothing_lost(room, [sender])


@pytest.mark.parametrize("burst", [1, 700])
async def test_a_repeat_that_is_refused_for_a_while_is_not_delivered_twice(
    layers, broker, proxy, burst
):
    """As by a server that has lost its master, and then is one: of this, consumers are told."""
    broker.cli("CONFIG", "SET", "replica-serve-stale-data", "no")
    nowhere = free_port()
    async with Room(layers(broker.address)) as room:
        sender = Sender(layers(proxy.address))
        await room.hears(await sender.send_one())
        for _ in range(3):
            cut = proxy.on_reply = CutWhen(
                proxy, 1, then=lambda: broker.cli("REPLICAOF", "127.0.0.1", nowhere)
            )
            sending = asyncio.gather(*(sender.send_one() for _ in range(burst)))
            await until(lambda cut=cut: cut.times == 0)
            replies = []
            proxy.on_reply = replies.append
            await until(lambda replies=replies: b"MASTERDOWN" in b"".join(replies))
            broker.cli("REPLICAOF", "NO", "ONE")
            await sending
        sender.sent.sort()
        await room.hears((sender.name, sender.sent[-1]))
        assert not sender.errors
        for heard in room.heard():
            assert [item for item in heard if item != "gap"] == [
                (sender.name, n) for n in sender.sent
            ]

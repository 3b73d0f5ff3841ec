"""Catching up: what waited at the broker, or on its way there, finds room in small mailboxes.

All with the default capacity, 100 messages. A backlog is several times as many.
"""

import asyncio
import signal

import pytest

from channels.layers.broker import backpressure

from ..asgi import until
from ..brokers import running
from .harness import (
    GROUP,
    Member,
    Room,
    Sender,
    balanced,
    both_layers,
    check_nothing_lost,
    pubsub,
)
from .test_broker import PERSISTENT
from .test_processes import peer

BACKLOG = 300


async def queue_up(sender, count=BACKLOG):
    """Begin to send, all at once; what to wait for."""
    sending = [asyncio.ensure_future(sender.send_one()) for _ in range(count)]
    await asyncio.sleep(0)
    return sending


async def expect_arrival(room, sender, sending):
    """Wait until all that was sent has come, to everybody."""
    await asyncio.gather(*sending)
    await room.hears(await sender.send_one(), 30)
    check_nothing_lost(room, [sender])


class Ponderer(Member):
    """Waits in its handler, so that it needs time and not the processor."""

    async def news(self, event):
        await asyncio.sleep(0.001)
        await super().news(event)


@pytest.fixture
def any_load(monkeypatch):
    """Consumers that a busy machine makes slow are waited for, however long they need."""
    monkeypatch.setattr(backpressure, "_FRESH", 60.0)
    monkeypatch.setattr(backpressure, "_ORDINARY", 60.0)


@both_layers
@pytest.mark.usefixtures("any_load")
@pytest.mark.parametrize("consumer", [Member, Ponderer])
async def test_a_burst_finds_room_in_mailboxes_that_are_read(layers, broker, consumer):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here, members=5, consumer=consumer) as room:
        sender = Sender(there)
        await expect_arrival(room, sender, await queue_up(sender))


@both_layers
@pytest.mark.parametrize("itself", [True, False])
@pytest.mark.usefixtures("any_load")
async def test_what_was_sent_while_the_broker_stood_still_arrives(layers, broker, itself):
    here = layers(broker.address, capacity=100)
    there = here if itself else layers(broker.address, capacity=100)
    async with Room(here, consumer=Ponderer) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        broker.pause()
        sending = await queue_up(sender)
        await asyncio.sleep(2)
        broker.resume()
        await expect_arrival(room, sender, sending)


@pytest.mark.usefixtures("any_load")
async def test_what_was_sent_while_the_broker_restarted_arrives(layers):
    with running("valkey", *PERSISTENT) as broker:
        here, there = (layers(broker.address, capacity=100) for _ in range(2))
        async with Room(here, consumer=Ponderer) as room:
            sender = Sender(there)
            await room.hears(await sender.send_one())
            await asyncio.to_thread(broker.kill)
            sending = await queue_up(sender)
            await asyncio.to_thread(broker.start)
            await expect_arrival(room, sender, sending)


@pytest.mark.usefixtures("any_load")
async def test_what_waits_in_the_inbox_of_a_process_that_was_busy_arrives(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here, consumer=Ponderer) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        (reader,) = here.transport.receiver.readers
        await reader.stop()
        await asyncio.gather(*await queue_up(sender, 2 * BACKLOG))
        reader.start()
        await expect_arrival(room, sender, [])


async def test_a_process_that_was_stopped_catches_up(layers, broker):
    """Whoever receives in a loop reads, too."""
    there = layers(broker.address)
    own = {"capacity": 100, "channel_capacity": {"answers": 10_000}}
    async with peer(broker, **own) as (process, _):
        sender, heard = Sender(there), []

        async def hear(count):
            while len(heard) < count:
                heard.append((await there.receive("answers"))["n"])

        await sender.send_one()
        async with asyncio.timeout(20):
            await hear(1)
            process.send_signal(signal.SIGSTOP)
            await asyncio.gather(*await queue_up(sender))
            process.send_signal(signal.SIGCONT)
            await hear(1 + BACKLOG)
        assert heard == sender.sent


class Stuck(Member):
    """Never comes back from its first message, until it is let go."""

    async def news(self, event):
        await super().news(event)
        await self.scope["release"].wait()


@both_layers
async def test_a_consumer_that_does_not_read_keeps_nobody_from_catching_up(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    release = asyncio.Event()
    async with Room(here) as room, Room(here, members=1, consumer=Stuck) as stuck:
        stuck.servers[0].scope["release"] = release
        sender = Sender(there)
        await room.hears(await sender.send_one())
        await asyncio.gather(*await queue_up(sender))
        last = await sender.send_one()
        await room.hears(last, 30)
        assert len(stuck.heard()[0]) == 1
        assert here.statistics.dropped == {"capacity": BACKLOG + 1 - 100}
        release.set()
        await until(lambda: "gap" in stuck.heard()[0])
        assert [n for _, n in stuck.heard()[0][:-1]] == list(range(101))
        await stuck.hears(await sender.send_one())
        assert stuck.gaps() == [1]
        assert room.gaps() == [0, 0, 0]
        for heard in room.heard():
            assert [n for _, n in heard] == sender.sent
        assert balanced(here)


@both_layers
async def test_a_consumer_that_leaves_while_it_is_waited_for_holds_nobody_up(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here) as room:
        mailbox = here.open_mailbox(await here.new_channel(), lambda: None)
        await here.group_add(GROUP, mailbox.channel)
        sender = Sender(there)
        sending = await queue_up(sender)
        (reader,) = here.transport.receiver.readers
        await until(lambda: reader._backpressure.pausing)
        await mailbox.close()
        await asyncio.gather(*sending)
        await room.hears(await sender.send_one(), 30)
        assert set(here.statistics.dropped) == {"closed"}
        assert balanced(here)


@both_layers
async def test_a_flush_does_not_wait_for_a_backlog(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    await here.new_channel()
    mailbox = here.open_mailbox(await here.new_channel(), lambda: None)
    await here.group_add(GROUP, mailbox.channel)
    sender = Sender(there)
    await asyncio.gather(*await queue_up(sender))
    await here.flush()
    assert mailbox.qsize() == 0
    assert balanced(here)
    await here.group_add(GROUP, mailbox.channel)
    _, last = await sender.send_one()
    await until(mailbox.qsize)
    while (message := mailbox.take())["type"] == "layer.gap":
        pass
    assert message["n"] == last, "nothing from before the flush"
    await mailbox.close()


# Pub/sub alone


@pubsub
@pytest.mark.usefixtures("any_load")
async def test_what_others_sent_while_they_were_cut_off_arrives(layers, broker, proxy):
    """The connection of those who receive it was healthy all the time."""
    here, there = layers(broker.address, capacity=100), layers(proxy.address)
    async with Room(here, consumer=Ponderer) as room:
        sender = Sender(there)
        await there.new_channel()
        await room.hears(await sender.send_one())
        proxy.refuse()
        proxy.cut()
        (subscription,) = there.transport.receiver.readers
        await until(lambda: not subscription.up)
        sending = await queue_up(sender)
        proxy.accept()
        await expect_arrival(room, sender, sending)


@pubsub
@pytest.mark.usefixtures("any_load")
async def test_a_process_that_was_busy_catches_up(layers, broker):
    """What its event loop did not come to read waits at the server, and in buffers on the way."""
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here, consumer=Ponderer) as room:
        sender = Sender(there)
        await room.hears(await sender.send_one())
        (subscription,) = here.transport.receiver.readers
        subscription._connection.pause()  # what is read has to come through here
        await asyncio.gather(*await queue_up(sender))
        subscription._connection.resume()
        await expect_arrival(room, sender, [])


@pubsub
async def test_a_connection_that_breaks_during_a_pause_is_repaired(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here) as room:
        mailbox = here.open_mailbox(await here.new_channel(), lambda: None)
        await here.group_add(GROUP, mailbox.channel)
        sender = Sender(there)
        sending = await queue_up(sender)
        (subscription,) = here.transport.receiver.readers
        await until(lambda: subscription._connection.paused)
        broker.cli("CLIENT", "KILL", "TYPE", "pubsub")
        subscription._connection.end(
            ConnectionError("as the server says once it is read from again")
        )
        await until(lambda: room.gaps() == [1, 1, 1])
        await asyncio.gather(*sending)
        await room.hears(await sender.send_one(), 30)
        for heard in room.heard():
            numbers = [item[1] for item in heard if item != "gap"]
            assert numbers == sorted(set(numbers))
        assert balanced(here)
        await mailbox.close()

"""Catching up over pub/sub: what comes in one go finds room in small mailboxes."""

import asyncio

import pytest

from ..asgi import until
from ..faults.harness import GROUP, Member, Room, Sender, balanced
from ..faults.test_backlog import BACKLOG, Ponderer, Stuck, expect_arrival, queue_up


@pytest.mark.parametrize("consumer", [Member, Ponderer])
async def test_a_burst_finds_room_in_mailboxes_that_are_read(layers, broker, consumer):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    async with Room(here, members=5, consumer=consumer) as room:
        sender = Sender(there)
        await expect_arrival(room, sender, await queue_up(sender))


@pytest.mark.parametrize("itself", [True, False])
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


async def test_a_consumer_that_does_not_read_keeps_nobody_from_catching_up(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    release = asyncio.Event()
    async with Room(here) as room, Room(here, members=1, consumer=Stuck) as stuck:
        stuck.servers[0].scope["release"] = release
        sender = Sender(there)
        await room.hears(await sender.send_one())
        await asyncio.gather(*await queue_up(sender))
        await room.hears(await sender.send_one(), 30)
        assert len(stuck.heard()[0]) == 1
        assert here.statistics.dropped == {"capacity": BACKLOG + 1 - 100}
        release.set()
        await until(lambda: "gap" in stuck.heard()[0])
        assert [n for _, n in stuck.heard()[0][:-1]] == list(range(101))
        for heard in room.heard():
            assert [n for _, n in heard] == sender.sent, "all of it, and no gap"
        assert balanced(here)


async def test_a_flush_does_not_wait_for_a_backlog(layers, broker):
    here, there = (layers(broker.address, capacity=100) for _ in range(2))
    mailbox = here.open_mailbox(await here.new_channel(), lambda: None)
    await here.group_add(GROUP, mailbox.channel)
    sender = Sender(there)
    await asyncio.gather(*await queue_up(sender))
    await here.flush()
    assert mailbox.qsize() == 0
    assert balanced(here)
    await mailbox.close()


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

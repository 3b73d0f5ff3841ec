"""Named channels on several servers: where their queues are, and who reads them."""

import asyncio
import contextlib

import pytest

from channels.exceptions import BrokerUnavailable
from channels.layers.broker.process import ProcessChannels
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.partitions import Partitions
from channels.layers.redis.queues.named import NamedChannels
from channels.layers.statistics import Statistics

from .....asgi import until


class Process:
    """Named channels as one process has them."""

    def __init__(self, addresses, prefix, name):
        self.partitions = Partitions(*parse_hosts(addresses, prefix))
        self.local = ProcessChannels(Statistics(self), lambda group: None)
        self.named = NamedChannels(self.partitions, name, self.local)

    def count_pending(self):
        return 0

    async def aclose(self):
        await self.named.aclose()
        sender = self.partitions.senders.pop()
        if sender is not None:
            await sender.aclose()


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(hosts=1):
        made.append(Process([shared_broker.address] * hosts, prefix, f"p{len(made)}"))
        return made[-1]

    yield make
    for process in made:
        await process.aclose()


async def soon(awaitable):
    async with asyncio.timeout(5):
        return await awaitable


async def test_each_channel_has_a_queue_where_its_name_says(make, redis, prefix):
    process = make(hosts=3)
    names = [f"channel-{n}" for n in range(10)]
    for name in names:
        assert await process.named.enqueue(name, name.encode(), 100, 60)
    for name in names:
        assert redis.exists(f"{{{prefix}:{process.partitions.number_of(name)}}}:queue:{name}")
        assert await soon(make(hosts=3).named.dequeue(name, 60)) == (name.encode(), None)


async def test_a_queue_holds_no_more_than_the_capacity(make):
    named = make().named
    assert [await named.enqueue("q", b"x", 2, 60) for _ in range(3)] == [True, True, False]


async def test_messages_that_have_expired_make_room_and_are_counted(make, redis, base, drops):
    process = make()
    assert await process.named.enqueue("q", b"x", 1, 60)
    assert await process.named.enqueue("q", b"z", 1, 60) is False
    redis.delete(f"{base}:queue:q")
    redis.xadd(f"{base}:queue:q", {"m": "x"}, id="1-1")  # as of 1970
    assert await process.named.enqueue("q", b"y", 1, 60)
    assert drops == [("q", "expired", 1)]


async def test_what_is_handed_out_here_is_given_back_unless_a_caller_waits(make, redis, base):
    process, other = make(), make()
    waiting = asyncio.create_task(process.named.dequeue("q", 60))
    await until(lambda: process.named.reader("q", 60).is_reading)
    await process.named.stop_receiving("q")
    await process.named.stop_receiving("unheard-of")
    await other.named.enqueue("q", b"1", 100, 60)
    assert await soon(waiting) == (b"1", None)
    await process.named.stop_receiving("q")
    await until(lambda: redis.xinfo_consumers(f"{base}:queue:q", "readers") == [])


async def test_rest_ends_what_reads_for_no_caller(make):
    process = make()
    reader = process.named.reader("idle", 60)
    waiting = asyncio.create_task(process.named.dequeue("q", 60))
    wanted = process.named.reader("q", 60)
    await until(lambda: wanted.is_reading)
    await process.named.rest()
    assert process.named.reader("idle", 60) is not reader
    assert process.named.reader("q", 60) is wanted
    await process.named.aclose()
    with contextlib.suppress(asyncio.CancelledError), pytest.raises(BrokerUnavailable):
        await soon(waiting)

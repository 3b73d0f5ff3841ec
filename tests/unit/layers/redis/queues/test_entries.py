"""What becomes of the entries that a server hands out, on a real server."""

import asyncio

import pytest

from channels.exceptions import BrokerError
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.keys import READERS
from channels.layers.redis.queues.entries import Entries

from .....asgi import until


class Shelf:
    """The entries of one reader, which is handed what is in the queue as it asks."""

    def __init__(self, redis, sender, queue, name, expiry=60.0):
        self.redis, self.queue, self.name = redis, queue, name
        self.expired = 0
        self.entries = Entries(sender.connections[0], queue, name, expiry, self.count)

    def count(self, expired):
        self.expired += expired

    def fetch(self, since=float("-inf"), start=">"):
        """Be handed out what there is, or, with ``start="0"``, what was handed out before."""
        answer = self.redis.xreadgroup(READERS, self.name, {self.queue: start})
        for _, entries in answer:
            raw = [
                (name, [part for pair in fields.items() for part in pair])
                for name, fields in entries
            ]
            self.entries.hold(raw, since)

    async def take(self):
        entry = self.entries.popleft()
        return entry.data if await self.entries.take(entry) else None


@pytest.fixture
async def sender(shared_broker, prefix):
    sender = Sender(*parse_hosts([shared_broker.address], prefix))
    yield sender
    await sender.aclose()


@pytest.fixture
def queue(redis, base):
    queue = f"{base}:queue:q"
    redis.xgroup_create(queue, READERS, "0", mkstream=True)
    return queue


@pytest.fixture
def put(redis, queue):
    return lambda *data, **fields: [redis.xadd(queue, {"m": each, **fields}) for each in data]


@pytest.fixture
def make(redis, sender, queue):
    return lambda name="one", **options: Shelf(redis, sender, queue, name, **options)


async def test_what_is_taken_is_removed(make, put, redis, queue):
    shelf = make()
    put("a", "b")
    shelf.fetch()
    assert len(shelf.entries) == 2
    assert [await shelf.take() for _ in range(2)] == [b"a", b"b"]
    assert redis.xlen(queue) == 0
    assert redis.xpending(queue, READERS)["pending"] == 0


async def test_an_entry_that_somebody_else_took_is_not_to_be_had(make, put, redis, queue):
    one, other = make(), make("other")
    put("a")
    one.fetch()
    ((name, _),) = redis.xrange(queue)
    redis.xclaim(queue, READERS, "other", 0, [name])
    other.fetch(start="0")
    assert [await shelf.take() for shelf in (other, one)] == [b"a", None]
    assert (one.expired, other.expired) == (0, 0)


async def test_an_entry_that_could_not_be_taken_is_to_be_had_when_it_is_handed_out_again(
    make, put, redis, queue, caplog
):
    shelf = make()
    put("a")
    shelf.fetch()
    redis.rename(queue, f"{queue}:aside")
    redis.set(queue, "no queue")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await shelf.take()
    redis.rename(f"{queue}:aside", queue)
    shelf.fetch(start="0")
    assert await shelf.take() == b"a"
    assert redis.xlen(queue) == 0
    assert not caplog.records, "its caller was told, and nobody else"


async def test_an_expired_entry_is_counted_and_not_to_be_had(make, put):
    shelf = make(expiry=0.001)
    put("a")
    await asyncio.sleep(0.01)
    shelf.fetch()
    assert await shelf.take() is None
    assert shelf.expired == 1


async def test_an_entry_that_is_known_is_not_held_twice(make, put):
    shelf = make()
    put("a", "b")
    shelf.fetch()
    entry = shelf.entries.popleft()
    taking = asyncio.create_task(shelf.entries.take(entry))
    await asyncio.sleep(0)
    shelf.fetch(start="0")  # as over the next connection
    assert len(shelf.entries) == 1
    assert await taking
    assert await shelf.take() == b"b"


async def test_an_entry_that_a_caller_had_is_removed_when_it_comes_again(make, put, redis, queue):
    """As from a server that forgot, when it was killed, what it had answered just before."""
    shelf = make()
    (name,) = put("a")
    shelf.fetch()
    assert await shelf.take() == b"a"
    redis.xgroup_setid(queue, READERS, "0")
    redis.delete(queue)
    redis.xgroup_create(queue, READERS, "0", mkstream=True)
    redis.xadd(queue, {"m": "a"}, id=name)
    shelf.fetch()
    assert len(shelf.entries) == 0
    await until(lambda: redis.xlen(queue) == 0)


async def test_what_is_kept_stays_in_the_order_of_the_queue(make, put):
    shelf = make()
    put("a", "b", "c")
    shelf.fetch()
    first, second = shelf.entries.popleft(), shelf.entries.popleft()
    shelf.entries.keep(first)
    shelf.entries.keep(second)
    assert [shelf.entries.popleft().data for _ in range(3)] == [b"a", b"b", b"c"]


async def test_a_message_that_is_given_back_is_for_other_readers(make, put):
    one, other = make(), make("other")
    put("a", "b")
    one.fetch()
    entry = one.entries.popleft()
    assert await one.entries.take(entry)
    one.entries.keep(entry)  # taken, and its caller has given up
    waiting = one.entries.give_back(leave=False)
    await asyncio.wait(waiting)
    await one.entries.returned(5)
    assert len(one.entries) == 0
    other.fetch()
    assert sorted([await other.take() for _ in range(2)]) == [b"a", b"b"]


async def test_what_somebody_else_took_is_not_put_back(make, put, redis, queue):
    one, other = make(), make("other")
    (name,) = put("a")
    one.fetch()
    redis.xclaim(queue, READERS, "other", 0, [name])
    other.fetch(start="0")
    assert await other.take() == b"a"
    entry = one.entries.popleft()
    assert not await one.entries.take(entry)
    one.entries.keep(entry)  # its caller gave up before it was told
    await asyncio.wait(one.entries.give_back(leave=False))
    await one.entries.returned(5)
    assert redis.xlen(queue) == 0


async def test_a_message_that_went_back_grows_no_younger(make, put):
    shelf = make()
    put("a", t="1234")
    shelf.fetch()
    assert shelf.entries.popleft().sent == b"1234"


async def test_of_what_was_taken_the_latest_is_remembered(make, put, monkeypatch, redis, queue):
    monkeypatch.setattr("channels.layers.redis.queues.entries._REMEMBERED", 1)
    shelf = make()
    put("a", "b", "c")
    shelf.fetch()
    assert [await shelf.take() for _ in range(3)] == [b"a", b"b", b"c"]
    assert redis.xlen(queue) == 0

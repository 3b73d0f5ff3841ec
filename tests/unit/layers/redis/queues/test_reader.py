import asyncio
import contextlib

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import named_reader
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.queues import reader as reader_module
from channels.layers.redis.queues.reader import QueueReader

from .....asgi import until
from .....ports import free_port
from .....proxy import Proxy


class Workshop:
    """Readers of one queue, and what they lost."""

    def __init__(self, prefix, queue):
        self.prefix = prefix
        self.queue = queue
        self.expired = 0
        self._made = []

    def count_expired(self, count):
        self.expired += count

    def reader(self, address, *, expiry=60.0, process="p", commands_address=None):
        (server,), _ = parse_hosts([address], self.prefix)
        sender = Sender(*parse_hosts([commands_address or address], self.prefix))
        reader = QueueReader(
            server,
            sender.connections[0],
            self.queue,
            process,
            "q",
            expiry,
            self.count_expired,
        )
        self._made.append((reader, sender))
        return reader

    async def aclose(self):
        for reader, sender in self._made:
            await reader.aclose()
            await sender.aclose()


@pytest.fixture
async def workshop(prefix, base):
    workshop = Workshop(prefix, f"{base}:queue:q")
    yield workshop
    await workshop.aclose()


@pytest.fixture
def put(redis, workshop):
    return lambda data: redis.xadd(workshop.queue, {"m": data})


async def take(reader, count=1):
    async with asyncio.timeout(5):
        return [(await reader.receive()).decode() for _ in range(count)]


async def gives_up(reader):
    """Start to receive, and stop when the server has the request."""
    receiving = asyncio.create_task(reader.receive())
    await until(lambda: reader.is_reading)
    receiving.cancel()
    await asyncio.wait([receiving])


async def test_messages_come_in_order_and_leave_nothing(workshop, shared_broker, redis, put):
    reader = workshop.reader(shared_broker.address)
    for n in range(100):
        put(n)
    assert await take(reader, 100) == [str(n) for n in range(100)]
    await until(lambda: redis.xlen(workshop.queue) == 0)
    assert redis.xpending(workshop.queue, "readers")["pending"] == 0


async def test_callers_are_served_in_the_order_in_which_they_wait(workshop, shared_broker, put):
    reader = workshop.reader(shared_broker.address)
    served = []

    async def receive(name):
        await reader.receive()
        served.append(name)

    waiting = [asyncio.create_task(receive(n)) for n in range(10)]
    await until(lambda: reader.is_reading)
    for n in range(10):
        put(n)
    await asyncio.wait(waiting)
    assert served == list(range(10))


async def test_each_message_goes_to_one_of_several_readers(workshop, shared_broker, put):
    readers = [workshop.reader(shared_broker.address, process=f"p{n % 2}") for n in range(4)]
    received = []

    async def work(reader):
        while True:
            received.append(await reader.receive())

    workers = [asyncio.create_task(work(reader)) for reader in readers]
    for n in range(200):
        put(n)
    await until(lambda: len(received) >= 200)
    for worker in workers:
        worker.cancel()
    await asyncio.wait(workers)
    assert sorted(int(message) for message in received) == list(range(200))


async def test_no_more_is_taken_than_is_wanted(workshop, shared_broker, redis, put):
    greedy, other = (workshop.reader(shared_broker.address) for _ in range(2))
    for n in range(5):
        put(n)
    assert await take(greedy) == ["0"]
    assert await take(other, 4) == ["1", "2", "3", "4"]


async def test_a_message_that_came_as_its_receiver_gave_up_is_the_next_one(
    workshop, shared_broker, put
):
    reader = workshop.reader(shared_broker.address)
    for turns in range(30):
        put(turns)
        receiving = asyncio.create_task(reader.receive())
        for _ in range(turns):
            await asyncio.sleep(0)
        await asyncio.sleep(turns * 0.00005)
        receiving.cancel()
        await asyncio.wait([receiving])
        received = (
            [receiving.result().decode()] if not receiving.cancelled() else await take(reader)
        )
        assert received == [str(turns)]


async def test_nothing_is_handed_out_to_a_caller_that_gave_up(workshop, shared_broker, redis, put):
    reader, other = (workshop.reader(shared_broker.address) for _ in range(2))
    await gives_up(reader)
    await until(lambda: redis.info("clients")["blocked_clients"] == 0)
    put("later")
    assert await take(other) == ["later"]


async def test_what_was_handed_out_and_is_not_wanted_is_given_back(
    workshop, shared_broker, redis, put, monkeypatch
):
    monkeypatch.setattr(named_reader, "HOLD", 0.1)
    reader, other = (workshop.reader(shared_broker.address) for _ in range(2))
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)  # as a server that forbids it
    await gives_up(reader)
    put("held")
    await until(lambda: reader.entries)
    assert await take(other) == ["held"]


async def test_giving_back_late_gives_back_nothing_that_came_later(
    workshop, shared_broker, redis, put, monkeypatch
):
    """The connection for commands may be broken while the reader goes on."""
    monkeypatch.setattr(named_reader, "HOLD", 0.1)
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(shared_broker.address, commands_address=proxy.address)
        other = workshop.reader(shared_broker.address)
        monkeypatch.setattr(reader, "_stop_reading", lambda: None)
        await gives_up(reader)
        put("held")
        await until(lambda: reader.entries)
        proxy.stall()
        await until(lambda: not reader.entries)
        put("wanted")
        receiving = asyncio.create_task(take(reader))
        await until(lambda: reader.entries.tickets)
        proxy.flow()
        assert await receiving == ["wanted"]
        assert await take(other) == ["held"]
        await until(lambda: redis.xlen(workshop.queue) == 0)
        await workshop.aclose()


async def test_a_message_nobody_waits_for_is_kept_for_the_next_caller(
    workshop, shared_broker, put, monkeypatch
):
    reader = workshop.reader(shared_broker.address)
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    await gives_up(reader)
    put("first")
    await until(lambda: reader.entries)
    put("second")
    assert await take(reader, 2) == ["first", "second"]


async def test_a_broken_connection_loses_and_repeats_nothing(workshop, shared_broker, redis, put):
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(proxy.address)
        for n in range(60):
            put(n)
            cuts = []

            def cut(reply, cuts=cuts, n=n):
                if len(cuts) < n % 3:
                    cuts.append(reply)
                    proxy.cut()

            proxy.on_reply = cut
            assert await take(reader) == [str(n)]
        proxy.on_reply = None
        await until(lambda: redis.xlen(workshop.queue) == 0)
        await workshop.aclose()


async def test_what_is_too_old_is_counted_and_not_delivered(workshop, shared_broker, redis, put):
    reader = workshop.reader(shared_broker.address, expiry=0.3)
    for n in range(3):
        put(n)
    await asyncio.sleep(0.35)
    put("fresh")
    assert await take(reader) == ["fresh"]
    assert workshop.expired == 3


async def test_what_grew_old_in_hand_is_counted_once(workshop, shared_broker, put, monkeypatch):
    reader = workshop.reader(shared_broker.address, expiry=0.3)
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    await gives_up(reader)
    put("old")
    await until(lambda: reader.entries)
    await asyncio.sleep(0.35)
    put("fresh")
    assert await take(reader) == ["fresh"]
    await until(lambda: workshop.expired)
    assert workshop.expired == 1


async def test_a_queue_that_vanishes_comes_back(
    workshop, shared_broker, redis, put, monkeypatch, caplog
):
    monkeypatch.setattr(reader_module, "_BLOCK", 0.2)
    reader = workshop.reader(shared_broker.address)
    for n in range(3):
        receiving = asyncio.create_task(take(reader))
        await until(lambda: reader.is_reading)
        redis.delete(workshop.queue)
        put(n)
        assert await receiving == [str(n)]
        assert f"{workshop.queue} was gone from the server" in caplog.text
        caplog.clear()


async def test_a_key_that_holds_no_queue_fails_the_callers_that_wait(
    workshop, shared_broker, redis, put
):
    reader = workshop.reader(shared_broker.address)
    redis.set(workshop.queue, "x")
    with pytest.raises(BrokerError, match="WRONGTYPE"):
        await take(reader)
    redis.delete(workshop.queue)
    put("good")
    assert await take(reader) == ["good"]


async def test_closing_ends_waits_and_gives_back(workshop, shared_broker, redis, put, monkeypatch):
    reader, other = (workshop.reader(shared_broker.address) for _ in range(2))
    real = reader._stop_reading
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    await gives_up(reader)
    put("held")
    await until(lambda: reader.entries)
    waiting = asyncio.create_task(workshop.reader(shared_broker.address).receive())
    await asyncio.sleep(0)
    monkeypatch.setattr(reader, "_stop_reading", real)
    await reader.aclose()
    assert await asyncio.wait_for(asyncio.shield(waiting), 5) == b"held"
    receiving = asyncio.create_task(other.receive())
    await until(lambda: other.is_reading)
    await other.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await receiving


async def test_closing_tells_those_who_wait_beside_one_that_is_giving_up(workshop, shared_broker):
    reader = workshop.reader(shared_broker.address)
    impatient, patient = (asyncio.create_task(reader.receive()) for _ in range(2))
    await until(lambda: reader.is_reading)
    impatient.cancel()
    await reader.aclose()
    with pytest.raises(BrokerUnavailable, match="closed"):
        await patient
    with pytest.raises(asyncio.CancelledError):
        await impatient


async def test_readers_that_leave_are_forgotten(workshop, shared_broker, redis, put):
    put("x")
    reader = workshop.reader(shared_broker.address)
    await take(reader)
    assert len(redis.xinfo_consumers(workshop.queue, "readers")) == 1
    await workshop.aclose()
    assert redis.xinfo_consumers(workshop.queue, "readers") == []


async def test_a_reader_without_callers_gives_its_connection_up(
    workshop, shared_broker, put, monkeypatch
):
    monkeypatch.setattr(named_reader, "IDLE", 0.05)
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(proxy.address)
        put("first")
        assert await take(reader) == ["first"]
        await until(lambda: proxy.open == 1)  # the one for commands is left
        put("second")
        assert await take(reader) == ["second"]
        await workshop.aclose()


async def test_a_restart_of_waits_does_not_lose_the_place_in_line(workshop, shared_broker, put):
    """Callers come and go while others stay; each message has exactly one taker."""
    reader = workshop.reader(shared_broker.address)
    received = []

    async def patient():
        received.append(await reader.receive())

    async def impatient():
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(0.001):
                received.append(await reader.receive())

    tasks = [asyncio.create_task(patient()) for _ in range(20)]
    tasks += [asyncio.create_task(impatient()) for _ in range(20)]
    for n in range(40):
        put(n)
        await asyncio.sleep(0)
    await until(lambda: sum(task.done() for task in tasks) == 40)
    assert len(received) >= 20
    rest = 40 - len(received)
    received += await take(reader, rest) if rest else []
    assert sorted(map(int, received)) == list(range(40))


# Taking: whoever removes an entry has it


def pending(redis, workshop):
    return redis.xpending(workshop.queue, "readers")["pending"]


async def test_a_message_is_removed_before_its_receiver_has_it(workshop, shared_broker, redis, put):
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(shared_broker.address, commands_address=proxy.address)
        put("warm up")
        assert await take(reader) == ["warm up"]
        proxy.stall()
        put("x")
        receiving = asyncio.create_task(take(reader))
        await until(lambda: reader.entries.tickets)
        assert not receiving.done()
        assert redis.xlen(workshop.queue) == 1
        proxy.flow()
        assert await receiving == ["x"]
        assert redis.xlen(workshop.queue) == 0
        assert pending(redis, workshop) == 0
        await workshop.aclose()


async def test_a_caller_that_gives_up_while_its_message_is_removed_leaves_it_to_the_next(
    workshop, shared_broker, redis, put
):
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(shared_broker.address, commands_address=proxy.address)
        put("warm up")
        assert await take(reader) == ["warm up"]
        proxy.stall()
        put("first")
        receiving = asyncio.create_task(take(reader))
        await until(lambda: reader.entries.tickets)
        receiving.cancel()
        await asyncio.wait([receiving])
        put("second")
        proxy.flow()
        assert await take(reader, 2) == ["first", "second"]
        await workshop.aclose()


@pytest.mark.parametrize("leave", [True, False])
async def test_a_message_removed_for_a_caller_that_gave_up_goes_back_with_its_age(
    workshop, shared_broker, redis, put, monkeypatch, leave
):
    monkeypatch.setattr(named_reader, "HOLD", 0.1)
    async with Proxy(shared_broker.address) as proxy:
        reader = workshop.reader(shared_broker.address, commands_address=proxy.address)
        put("warm up")
        assert await take(reader) == ["warm up"]
        proxy.stall()
        sent = int(put("left").partition(b"-")[0])
        receiving = asyncio.create_task(take(reader))
        await until(lambda: reader.entries.tickets)
        receiving.cancel()
        await asyncio.wait([receiving])
        closing = asyncio.create_task(reader.aclose()) if leave else None
        await until(lambda: leave or not reader.entries)
        proxy.flow()
        if closing:
            await closing
        await until(lambda: redis.xlen(workshop.queue) == 1 and pending(redis, workshop) == 0)
        ((_, fields),) = redis.xrange(workshop.queue)
        assert (fields[b"m"], int(fields[b"t"])) == (b"left", sent)
        assert await take(workshop.reader(shared_broker.address)) == ["left"]
        await workshop.aclose()


async def test_what_goes_back_gets_its_old_place(workshop, shared_broker, put, monkeypatch):
    reader, other = (workshop.reader(shared_broker.address) for _ in range(2))
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    await gives_up(reader)
    put("first")
    await until(lambda: reader.entries)
    put("second")
    put("third")
    await reader.aclose()
    assert await take(other, 3) == ["first", "second", "third"]


async def test_what_several_gave_up_at_once_goes_back_in_order(
    workshop, shared_broker, redis, monkeypatch
):
    monkeypatch.setattr(named_reader, "HOLD", 0.05)
    reader, other = (workshop.reader(shared_broker.address) for _ in range(2))
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    receiving = [asyncio.create_task(reader.receive()) for _ in range(2)]
    await until(lambda: reader.is_reading and len(reader._callers) == 2)
    serve = reader.serve

    def serve_and_give_up():  # they come in the very turn of the event loop in which all give up
        serve()
        for task in receiving:
            task.cancel()

    monkeypatch.setattr(reader, "serve", serve_and_give_up)
    names = ["first", "second", "third", "fourth"]
    with redis.pipeline(transaction=True) as together:
        for name in names:
            together.xadd(workshop.queue, {"m": name})
        together.execute()
    await asyncio.wait(receiving)
    await until(lambda: redis.xpending(workshop.queue, "readers")["pending"] == 0)
    assert await take(other, 4) == names


async def test_what_comes_as_all_give_up_is_for_the_next_caller(
    workshop, shared_broker, put, monkeypatch
):
    reader = workshop.reader(shared_broker.address)
    receiving = [asyncio.create_task(reader.receive()) for _ in range(2)]
    await until(lambda: reader.is_reading)
    hold = reader.entries.hold

    def hold_and_give_up(entries, since):  # the callers have had no turn yet
        hold(entries, since)
        for task in receiving:
            task.cancel()

    monkeypatch.setattr(reader.entries, "hold", hold_and_give_up)
    put("late")
    await asyncio.wait(receiving)
    assert await take(reader, 1) == ["late"]


async def test_nothing_that_is_being_handled_comes_again_when_something_goes_back(
    workshop, shared_broker, redis, put, monkeypatch
):
    reader, other, third = (workshop.reader(shared_broker.address) for _ in range(3))
    monkeypatch.setattr(reader, "_stop_reading", lambda: None)
    monkeypatch.setattr(other, "_stop_reading", lambda: None)
    await gives_up(reader)
    put("first")
    await until(lambda: reader.entries)
    await gives_up(other)
    put("second")
    await until(lambda: other.entries)
    put("third")
    await reader.aclose()
    assert await take(third, 2) == ["third", "first"]
    assert await take(other) == ["second"]
    await until(lambda: redis.xlen(workshop.queue) == 0)


async def test_an_old_message_that_went_back_still_expires(
    workshop, shared_broker, redis, put, monkeypatch
):
    redis.xadd(workshop.queue, {"m": "old", "t": 1})
    put("fresh")
    assert await take(workshop.reader(shared_broker.address)) == ["fresh"]
    assert workshop.expired == 1


# Readers that are gone


async def test_what_a_dead_reader_was_handed_comes_to_another_once(
    workshop, shared_broker, redis, put, monkeypatch
):
    monkeypatch.setattr(reader_module, "_BLOCK", 0.1)
    monkeypatch.setattr(reader_module, "_ABANDONED", 0.3)
    redis.xgroup_create(workshop.queue, "readers", "0", mkstream=True)
    put("one")
    put("two")
    redis.xreadgroup("readers", "dead", {workshop.queue: ">"}, count=2)
    put("three")
    received = await take(workshop.reader(shared_broker.address), 3)
    assert received == ["three", "one", "two"]
    assert redis.xlen(workshop.queue) == 0
    assert pending(redis, workshop) == 0


async def test_a_reader_that_only_seemed_dead_has_nothing_that_another_has_had(
    workshop, shared_broker, redis, put, monkeypatch
):
    monkeypatch.setattr(reader_module, "_BLOCK", 0.1)
    monkeypatch.setattr(reader_module, "_ABANDONED", 0.3)
    async with Proxy(shared_broker.address) as proxy:
        stuck = workshop.reader(shared_broker.address, commands_address=proxy.address)
        put("warm up")
        assert await take(stuck) == ["warm up"]
        proxy.stall()
        put("once")
        late = asyncio.create_task(take(stuck))
        await until(lambda: stuck.entries.tickets)
        assert await take(workshop.reader(shared_broker.address)) == ["once"]
        proxy.flow()
        put("other")
        assert await late == ["other"]
        await workshop.aclose()


async def test_readers_that_hold_something_are_not_forgotten(
    workshop, shared_broker, redis, put, monkeypatch
):
    monkeypatch.setattr(reader_module, "_GONE", 0.001)
    redis.xgroup_create(workshop.queue, "readers", "0", mkstream=True)
    put("held")
    redis.xreadgroup("readers", "holder", {workshop.queue: ">"}, count=1)
    redis.xgroup_createconsumer(workshop.queue, "readers", "idle")
    await asyncio.sleep(0.01)
    put("x")
    assert await take(workshop.reader(shared_broker.address)) == ["x"]
    names = [found["name"] for found in redis.xinfo_consumers(workshop.queue, "readers")]
    assert b"holder" in names
    assert b"idle" not in names


# Clocks


async def test_what_came_after_an_empty_read_has_not_expired(
    workshop, shared_broker, redis, put, monkeypatch
):
    """However old it is by the server's clock, which may have been set meanwhile."""
    monkeypatch.setattr(reader_module, "_BLOCK", 0.1)
    reader = workshop.reader(shared_broker.address)
    receiving = asyncio.create_task(take(reader))
    await until(lambda: reader._empty > 0)
    redis.xadd(workshop.queue, {"m": "fresh"}, id="1-1")
    assert await receiving == ["fresh"]
    assert workshop.expired == 0


# What the log is told


async def test_the_log_says_when_a_server_is_gone_and_when_it_is_back(
    workshop, shared_broker, put, caplog
):
    caplog.set_level("INFO", logger="channels.layers")
    async with Proxy(shared_broker.address) as proxy:
        proxy.refuse()
        reader = workshop.reader(proxy.address)
        receiving = asyncio.create_task(take(reader))
        await until(lambda: "still trying" in caplog.text)
        assert "receiving from channel q does not work (" in caplog.text
        proxy.accept()
        put("x")
        assert await receiving == ["x"]
        assert "answers again: receiving from channel q works" in caplog.text
        await workshop.aclose()


async def test_a_reader_that_cannot_connect_ends_when_nobody_waits_any_more(workshop):
    reader = workshop.reader(("127.0.0.1", free_port()))
    receiving = asyncio.create_task(reader.receive())
    await until(lambda: reader._reconnector.failures)
    receiving.cancel()
    await asyncio.wait((receiving,))
    await until(lambda: not reader._wanted.is_set())  # it waits for another caller
    task = reader._task
    await reader.aclose()
    assert task.done()
    assert not task.cancelled()

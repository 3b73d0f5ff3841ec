import asyncio

import pytest

from channels._runtime.clock import now
from channels.layers.broker import backpressure as backpressure_module
from channels.layers.local import LocalChannels
from channels.layers.redis.connection.commands import CommandConnection
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.streams import inbox as inbox_module
from channels.layers.redis.streams.inbox import InboxReader

from .....asgi import until
from .....proxy import Proxy

LEASE = 60


class Recorder:
    """A recipient that takes note of everything."""

    def __init__(self, groups=()):
        self.received = []
        self.ages = []
        self.lost = []
        self.refused = []
        self.missing = []
        self.groups = list(groups)

    def inbox_received(self, field, data, age, patience):
        if field != b"h":
            self.received.append((field, data))
            self.ages.append(age)
        if data == b"bomb":
            raise ValueError("a recipient that fails")

    def inbox_overflowed(self, partition, count):
        self.refused.append(count)

    def inbox_lost(self, partition, reason):
        self.lost.append(reason)

    def inbox_groups(self, partition):
        return self.groups

    def inbox_groups_missing(self, partition, keys):
        self.missing += keys


@pytest.fixture
async def commands(server, base):
    commands = CommandConnection(server, f"{base}:sender:s")
    yield commands
    await commands.aclose()


@pytest.fixture
async def start(server, commands, base):
    readers = []

    async def start(recorder, resume=None, lease=LEASE):
        reader = InboxReader(server, commands, 0, base, "p", lease, recorder)
        if resume is not None:
            reader.resume_from(resume)
        readers.append(reader)
        reader.start()
        async with asyncio.timeout(5):
            await reader.be_ready()
        return reader

    yield start
    for reader in readers:
        await reader.stop()


async def test_entries_come_in_order_with_their_age(start, redis):
    recorder = Recorder()
    reader = await start(recorder)
    for n in range(300):
        redis.xadd(reader.inbox, {"gx": n})
    await until(lambda: len(recorder.received) == 300)
    assert recorder.received == [(b"gx", b"%d" % n) for n in range(300)]
    assert all(0 <= age < 5 for age in recorder.ages)
    assert recorder.lost == []


@pytest.mark.parametrize("waits", [5, 61])  # for how long the clock then was behind
async def test_what_came_just_now_is_not_old_when_the_clock_was_set_back(start, redis, base, waits):
    """The server's clock was set back by 70 s after it had been read, and after a long silence."""
    seconds, _ = redis.time()
    inbox = f"{base}:inbox:p"
    redis.xadd(inbox, {"h": ""}, id=f"{(seconds - 75) * 1000}-0")
    recorder = Recorder()
    reader = await start(recorder)
    for n in range(3):
        redis.xadd(inbox, {"gx": n}, id=f"{(seconds - 75 + waits) * 1000 + n}-0")
        await until(lambda n=n: len(recorder.received) == n + 1)
    assert all(age < 5 for age in recorder.ages)
    assert reader.is_ready()


@pytest.mark.parametrize("batch", [1000, 2], ids=["one read", "several reads"])
async def test_what_waited_long_is_old(start, redis, base, monkeypatch, batch):
    monkeypatch.setattr(inbox_module, "_BATCH", batch)
    seconds, _ = redis.time()
    inbox = f"{base}:inbox:p"
    redis.xadd(inbox, {"h": ""}, id=f"{(seconds - 75) * 1000}-0")
    reader, recorder = await start(Recorder()), Recorder()
    await reader.stop()
    reader._progress.emptied -= 75  # as if it had been that long ago
    for n in range(5):
        redis.xadd(inbox, {"gx": n}, id=f"{(seconds - 50) * 1000 + n}-0")
    await start(recorder, resume=reader)
    await until(lambda: len(recorder.received) == 5)
    assert all(49 <= age < 60 for age in recorder.ages)


async def test_the_next_reader_goes_on_where_the_last_has_stopped(start, redis):
    first, second = Recorder(), Recorder()
    reader = await start(first)
    redis.xadd(reader.inbox, {"gx": "1"})
    await until(lambda: first.received)
    await reader.stop()
    redis.xadd(reader.inbox, {"gx": "2"})
    await start(second, resume=reader)
    await until(lambda: second.received)
    assert (first.received, second.received) == ([(b"gx", b"1")], [(b"gx", b"2")])
    assert second.lost == []


async def test_the_server_drops_what_was_read(start, commands, redis):
    recorder = Recorder()
    reader = await start(recorder)
    for n in range(1000):
        redis.xadd(reader.inbox, {"gx": n})
    await until(lambda: len(recorder.received) == 1000)
    await commands.call("PING")  # after what lets the server drop them
    assert 0 < redis.xlen(reader.inbox) <= 256


# The lease


async def test_the_lease_of_inbox_and_memberships_is_renewed(start, redis, base):
    group = f"{base}:group:g"
    reader = await start(Recorder([group]), lease=1.5)
    first = redis.zscore(group, "p:p")
    await until(lambda: redis.zscore(group, "p:p") > first + 1500)
    assert 0 < redis.pttl(reader.inbox) <= 1500


async def test_what_was_read_is_dropped_at_the_latest_as_the_lease_is_renewed(start, redis):
    recorder = Recorder()
    reader = await start(recorder, lease=0.6)
    for n in range(3):
        redis.xadd(reader.inbox, {"gx": f"{n}"})
    await until(lambda: redis.xlen(reader.inbox) == 1)
    assert len(recorder.received) == 3


async def test_what_the_inbox_had_no_room_for_is_told_once(start, redis, base):
    recorder = Recorder()
    await start(recorder, lease=0.6)
    redis.set(f"{base}:lost:p", 3)
    await until(lambda: recorder.refused)
    redis.incrby(f"{base}:lost:p", 2)
    await until(lambda: len(recorder.refused) > 1)
    assert recorder.refused == [3, 2], "each once, though the server's number only grows"


async def test_an_inbox_that_is_found_gone_as_the_lease_is_renewed_is_made_again(start, redis):
    recorder = Recorder()
    reader = await start(recorder, lease=0.6)
    redis.delete(reader.inbox)
    await until(lambda: recorder.lost)
    assert recorder.lost == ["the inbox was gone"]
    await until(lambda: redis.exists(reader.inbox))


async def test_what_took_a_groups_place_is_logged(start, redis, base, caplog):
    group = f"{base}:group:g"
    await start(Recorder([group]), lease=0.6)
    redis.delete(group)
    redis.set(group, "no group")
    await until(lambda: "should hold groups and hold something else" in caplog.text)
    assert group in caplog.text


async def test_a_lease_that_cannot_be_renewed_is_renewed_when_it_can(shared_broker, redis, base):
    async with Proxy(shared_broker.address) as proxy:
        (server,), _ = parse_hosts([proxy.address], "x")
        commands = CommandConnection(server, f"{base}:sender:s", patience=0.1)
        reader = InboxReader(server, commands, 0, base, "p", 0.6, Recorder())
        reader.start()
        await reader.be_ready()
        proxy.refuse()
        await until(lambda: not redis.exists(reader.inbox))
        proxy.accept()
        await until(lambda: redis.exists(reader.inbox))
        await reader.stop()
        await commands.aclose()


# Servers that forget


async def test_an_inbox_that_went_is_made_again_and_told_once(start, redis, monkeypatch, caplog):
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.1)
    recorder = Recorder()
    reader = await start(recorder)
    redis.delete(reader.inbox)
    await until(lambda: recorder.lost)
    redis.xadd(reader.inbox, {"gx": "after"})
    await until(lambda: recorder.received)
    assert recorder.lost == ["the inbox was gone"]
    assert caplog.text.count("may have been lost: the inbox was gone") == 1


async def test_an_older_state_is_told_even_when_something_came_since(start, redis):
    """As after a failover to a replica that missed what this process has read already."""
    first, second = Recorder(), Recorder()
    reader = await start(first)
    read = redis.xadd(reader.inbox, {"gx": "read and lost"})
    await until(lambda: first.received)
    await reader.stop()
    redis.xdel(reader.inbox, read)
    redis.xadd(reader.inbox, {"gx": "since"})
    await start(second, resume=reader)
    await until(lambda: second.received)
    assert second.received == [(b"gx", b"since")]
    assert second.lost == ["the server has an older state"]


async def test_memberships_are_back_before_a_gap_is_told(start, redis, base):
    members = []

    class Looker(Recorder):
        def inbox_lost(self, partition, reason):
            members.append(redis.zrange(f"{base}:group:g", 0, -1))
            super().inbox_lost(partition, reason)

    recorder = Looker([f"{base}:group:g"])
    reader = await start(recorder)
    redis.delete(reader.inbox, f"{base}:group:g")
    reader.reset()
    await until(lambda: recorder.lost)
    assert members == [[b"p:p"]]


async def test_groups_that_went_with_the_inbox_are_not_told_of_apart(start, redis, base):
    group = f"{base}:group:g"
    recorder = Recorder([group])
    reader = await start(recorder)
    recorder.missing.clear()
    redis.delete(reader.inbox, group)
    reader.reset()
    await until(lambda: recorder.lost)
    assert recorder.lost == ["the inbox was gone"]
    assert recorder.missing == []


async def test_thousands_of_groups_are_renewed(start, redis, base):
    groups = [f"{base}:group:{n}" for n in range(2500)]
    recorder = Recorder(groups)
    await start(recorder)
    assert recorder.missing == [group.encode() for group in groups]
    assert redis.exists(*groups) == 2500
    assert all(redis.zscore(group, "p:p") for group in (groups[0], groups[999], groups[2499]))


async def test_a_recipient_that_fails_misses_one_entry(start, redis, caplog):
    recorder = Recorder()
    reader = await start(recorder)
    for data in ("bomb", "next"):
        redis.xadd(reader.inbox, {"gx": data})
    await until(lambda: len(recorder.received) == 2)
    assert "could not be handed over" in caplog.text


async def test_stopping_before_the_first_connection_fails_callers_that_wait(shared_broker, base):
    async with Proxy(shared_broker.address) as proxy:
        proxy.stall()
        (server,), _ = parse_hosts([proxy.address], "x")
        commands = CommandConnection(server, f"{base}:sender:s")
        reader = InboxReader(server, commands, 0, base, "p", LEASE, Recorder())
        reader.start()
        ready = asyncio.create_task(reader.be_ready())
        await asyncio.sleep(0)
        await reader.stop()
        with pytest.raises(ConnectionError, match="closed"):
            await ready
        await commands.aclose()


async def test_what_a_sender_appended_twice_comes_once(start, redis):
    recorder = Recorder()
    reader = await start(recorder)
    for n, origin in enumerate(["s:5", "s:5", "s:6", "t:5", "s:4", "s:7"]):
        redis.xadd(reader.inbox, {"gx": n, "o": origin})
    await until(lambda: (b"gx", b"5") in recorder.received)
    assert [int(data) for _, data in recorder.received] == [0, 2, 3, 5]


async def test_an_inbox_whose_place_was_taken_is_made_again(start, redis, monkeypatch):
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.05)
    recorder = Recorder()
    reader = await start(recorder)
    with redis.pipeline() as both:
        both.delete(reader.inbox).set(reader.inbox, "no stream").execute()
    await until(lambda: not reader.is_ready())
    redis.delete(reader.inbox)
    await until(lambda: recorder.lost)
    assert recorder.lost == ["the inbox was gone"]
    redis.xadd(reader.inbox, {"gx": 1})
    await until(lambda: recorder.received)


async def test_a_connection_that_breaks_while_registering_is_closed(
    server, commands, base, monkeypatch
):
    opened = []

    async def breaking(reader, connection):
        opened.append(connection)
        raise ConnectionError("cut off")

    monkeypatch.setattr(InboxReader, "_register", breaking)
    reader = InboxReader(server, commands, 0, base, "p", LEASE, Recorder())
    with pytest.raises(ConnectionError, match="cut off"):
        await reader._read()
    assert not opened[0].is_connected


class Consumer(Recorder):
    """A recipient with a consumer that holds one message at a time."""

    def __init__(self):
        super().__init__()
        self.local = LocalChannels(capacity=1)
        self.mailbox = self.local.open_mailbox("c", lambda: None)

    def inbox_received(self, field, data, age, patience):
        if field != b"h":
            entry = (self.local.expiry + now(), lambda: {"type": "x", "n": int(data)})
            return self.local.deliver_or_drop("c", entry, patience)
        return None

    async def read(self, count):
        return [(await until(self.mailbox.take))["n"] for _ in range(count)]


@pytest.fixture
def patient(monkeypatch):
    """Consumers are waited for as long as the test needs."""
    monkeypatch.setattr(backpressure_module, "_STALLED", (60.0, 60.0))
    monkeypatch.setattr(backpressure_module, "_ORDINARY", 60.0)


async def test_what_a_consumer_has_no_room_for_waits(start, redis, patient):
    consumer = Consumer()
    reader = await start(consumer)
    for n in range(20):
        redis.xadd(reader.inbox, {"gx": n})
    await until(consumer.mailbox.qsize)
    assert await consumer.read(20) == list(range(20))
    redis.xadd(reader.inbox, {"gx": 20})
    assert await consumer.read(1) == [20]
    assert consumer.local.statistics.dropped == {}


@pytest.mark.parametrize("takes", ["at once", "before", "after"])
async def test_nothing_is_lost_or_repeated_when_the_connection_breaks_while_one_is_waited_for(
    shared_broker, commands, redis, base, patient, caplog, takes
):
    """A consumer takes as the connection breaks, or before or after there is another one."""
    consumer = Consumer()
    async with Proxy(shared_broker.address) as proxy:
        server = parse_hosts([proxy.address], "x")[0][0]
        reader = InboxReader(server, commands, 0, base, "p", LEASE, consumer)
        reader.start()
        await asyncio.wait_for(reader.be_ready(), 5)
        redis.xadd(reader.inbox, {"gx": 0})
        await until(consumer.mailbox.qsize)
        for n in range(1, 5):
            redis.xadd(reader.inbox, {"gx": n})
        await until(lambda: reader._backpressure.pausing)
        proxy.refuse()
        taken, refused = [], proxy.connections
        if takes == "before":
            await until(lambda: proxy.connections > refused)
        if takes != "after":
            taken += await consumer.read(2)
        handed, take = [], reader._take

        def take_and_note(entries):
            take(entries)
            handed.append(entries)

        reader._take = take_and_note
        proxy.accept()
        await until(lambda: handed)
        taken += await consumer.read(5 - len(taken))
        assert taken == list(range(5))
        redis.xadd(reader.inbox, {"gx": 5})
        assert await consumer.read(1) == [5]
        assert consumer.local.statistics.dropped == {}
        assert "asyncio" not in {record.name for record in caplog.records}, "nothing failed"
        await reader.stop()


async def test_a_server_that_owes_an_answer_for_long_is_left(
    shared_broker, commands, redis, base, monkeypatch
):
    monkeypatch.setattr(inbox_module, "_BLOCK", 0.1)
    monkeypatch.setattr(inbox_module, "_GRACE", 0.1)
    recorder = Recorder()
    async with Proxy(shared_broker.address) as proxy:
        server = parse_hosts([proxy.address], "x")[0][0]
        reader = InboxReader(server, commands, 0, base, "p", LEASE, recorder)
        reader.start()
        await asyncio.wait_for(reader.be_ready(), 5)
        proxy.stall()
        await until(lambda: proxy.connections == 2)
        proxy.flow()
        redis.xadd(reader.inbox, {"gx": 1})
        await until(lambda: recorder.received)
        await reader.stop()


async def test_an_abandoned_reader_hands_over_nothing_that_was_under_way(start, redis):
    recorder = Recorder()
    reader = await start(recorder)
    protocol = reader._connection._transport.get_protocol()
    reader.abandon()
    protocol.data_received(
        b"*1\r\n*2\r\n$1\r\ni\r\n*1\r\n*2\r\n$3\r\n1-1\r\n*2\r\n$2\r\ngx\r\n$1\r\n1\r\n"
    )
    assert recorder.received == []


async def test_a_reader_that_has_no_connection_need_not_make_another(shared_broker, commands, base):
    server = parse_hosts([shared_broker.address], "x")[0][0]
    reader = InboxReader(server, commands, 0, base, "p", LEASE, Recorder())
    reader.reset()
    assert reader._connection is None

import asyncio
import threading

import pytest
from asgiref.sync import async_to_sync

from channels._runtime.loops import PerLoop, bridge
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.redis import RedisChannelLayer
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.connection.sender import Sender
from channels.layers.redis.streams.inbox import InboxReader
from channels.layers.redis.streams.membership import Membership
from channels.layers.redis.streams.receiver import Receiver

from .....asgi import until
from .....proxy import Proxy
from ...helpers import soon
from ..loops import another_loop, call, check_work_is_done_on_the_loop_that_receives, where


class Process:
    """What a process has around its receiver; it takes note of everything."""

    def __init__(self, addresses, prefix, lease=60, waiting=list):
        self.servers, self.bases = parse_hosts(addresses, prefix)
        self.lease = lease
        self.heard, self.read, self.lost, self.refused = [], [], [], []
        self.missing = []
        self.outgoing = PerLoop(lambda: Sender(self.servers, self.bases))
        self.membership = Membership(
            "p", self.bases, int(lease * 1000), self.outgoing, lambda group: False
        )
        self.receiver = Receiver(self._make_readers, lease, self.membership, self.outgoing, waiting)

    def _make_readers(self):
        return [
            InboxReader(server, number, base, "p", self.lease, self)
            for number, (server, base) in enumerate(zip(self.servers, self.bases, strict=True))
        ]

    def inbox_received(self, field, data, age, patience):
        if field != b"h":
            self.heard.append((data, threading.current_thread()))

    def inbox_read(self, partition, last):
        self.read.append(last)
        self.receiver.trim(partition, last)

    def inbox_lost(self, partition, reason):
        self.lost.append(reason)

    def inbox_overflowed(self, partition, count):
        self.refused.append(count)

    def inbox_groups(self, partition):
        return self.membership.keys(partition)

    def inbox_groups_missing(self, partition, keys):
        self.missing += keys

    async def aclose(self):
        await self.receiver.stop()
        await self.outgoing.aclose()


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(*addresses, **options):
        made.append(Process(list(addresses) or [shared_broker.address], prefix, **options))
        return made[-1]

    yield make
    for process in made:
        await process.aclose()


@pytest.fixture
def process(make):
    return make()


@pytest.fixture
def receiver(process):
    return process.receiver


@pytest.fixture
def inbox(base):
    return f"{base}:inbox:p"


# Who reads


async def test_nothing_is_read_before_somebody_wants_to(receiver, redis, inbox):
    assert receiver.loop is None
    assert receiver.readers == receiver.inboxes == []
    assert not receiver.is_ready()
    receiver.call_soon(lambda: pytest.fail("nobody reads"))
    receiver.trim(0, "1-1")
    await receiver.stop()
    assert not redis.exists(inbox)


async def test_the_first_loop_that_wants_to_reads(process, receiver, redis, inbox):
    await receiver.be_ready()
    assert receiver.is_ready()
    assert receiver.loop is asyncio.get_running_loop()
    assert receiver.inboxes == [inbox]
    redis.xadd(inbox, {"gx": "hello"})
    await until(lambda: process.heard)
    assert process.heard == [(b"hello", threading.current_thread())]


async def test_there_is_an_inbox_on_each_server(make, shared_broker, redis, prefix):
    receiver = make(*[shared_broker.address] * 3).receiver
    await receiver.be_ready()
    assert receiver.inboxes == [f"{{{prefix}:{n}}}:inbox:p" for n in range(3)]
    assert redis.exists(*receiver.inboxes) == 3


async def test_it_can_be_stopped_and_started_again(process, receiver, redis, inbox):
    for n in range(2):
        await receiver.be_ready()
        redis.xadd(inbox, {"gx": f"{n}"})
        await until(lambda n=n: len(process.heard) == n + 1)
        await receiver.stop()
        assert receiver.loop is None
        assert receiver.readers == []
        assert not receiver.is_ready()
        await until(lambda: not redis.exists(inbox))
    assert process.lost == []


@pytest.mark.usefixtures("restless")
def test_threads_that_start_at_once_start_one_reader(shared_broker, prefix):
    """With two, everything would come twice."""
    for n in range(20):
        layer = RedisChannelLayer([shared_broker.address], f"{prefix}{n}")
        ready = threading.Barrier(4)
        received = []

        async def run(layer=layer, ready=ready, received=received):
            ready.wait(5)
            channel = await layer.new_channel()
            await layer.group_add("group", channel)
            await asyncio.to_thread(ready.wait, 5)
            await layer.send(channel, {"type": "test.message", "n": 1})
            await layer.send(channel, {"type": "test.message", "n": 2})
            received.append([(await soon(layer.receive(channel)))["n"] for _ in range(2)])
            await asyncio.to_thread(ready.wait, 5)
            assert layer.count_pending() == 0
            await asyncio.to_thread(ready.wait, 5)

        def thread(run=run):
            asyncio.run(run())

        threads = [threading.Thread(target=thread) for _ in range(4)]
        for each in threads:
            each.start()
        for each in threads:
            each.join(20)
        assert received == [[1, 2]] * 4
        asyncio.run(layer.aclose())


# Other event loops


async def test_work_is_done_here_if_nobody_reads(receiver):
    assert await receiver.run(where) is asyncio.get_running_loop()
    assert receiver.loop is None


async def test_work_of_the_loop_that_reads_stays_in_its_task(receiver):
    async def which():
        return asyncio.current_task()

    await receiver.be_ready()
    assert await receiver.run(which) is asyncio.current_task()


async def test_a_loop_made_for_a_single_call_leaves_work_to_the_bridge(receiver):
    assert await asyncio.to_thread(async_to_sync(receiver.run), where) is bridge.loop


async def test_work_of_another_loop_is_done_on_the_one_that_reads(process, receiver):
    await check_work_is_done_on_the_loop_that_receives(receiver, process.aclose)


async def test_errors_of_work_on_another_loop_are_the_callers(process, receiver):
    async def fail():
        raise BrokerUnavailable("as if")

    with another_loop() as other:
        await call(other, receiver.be_ready())
        with pytest.raises(BrokerUnavailable, match="as if"):
            await receiver.run(fail)
        await call(other, process.aclose())


async def test_work_is_done_again_if_the_loop_ends_meanwhile(receiver):
    begun = threading.Event()

    async def work():
        if await where() is here:
            return "done"
        begun.set()
        return await asyncio.Event().wait()

    here = await where()
    with another_loop() as other:
        await call(other, receiver.be_ready())
        task = asyncio.create_task(receiver.run(work))
        assert await asyncio.to_thread(begun.wait, 10)
    async with asyncio.timeout(10):
        assert await task == "done"


async def test_the_next_loop_goes_on_where_the_last_has_stopped(process, receiver, redis, inbox):
    with another_loop() as other:
        await call(other, receiver.be_ready())
        await call(other, process.membership.join("g"))
        redis.xadd(inbox, {"gx": "1"})
        await until(lambda: process.heard)
    assert not receiver.is_ready()
    receiver.call_soon(lambda: pytest.fail("it has been closed"))
    redis.xadd(inbox, {"gx": "2"})
    await receiver.be_ready()
    assert receiver.loop is asyncio.get_running_loop()
    await until(lambda: len(process.heard) == 2)
    assert [data for data, _ in process.heard] == [b"1", b"2"]
    assert process.heard[1][1] is threading.current_thread()
    assert process.lost == []
    assert process.membership.keys(0), "and the groups are joined still"


async def test_what_was_about_to_be_joined_is_joined_as_the_inbox_is_registered(
    process, receiver, redis, base
):
    redis.set(f"{base}:group:g", "no group")  # so that joining it before fails, though late
    process.membership.start_joining("g")
    await receiver.be_ready()
    redis.delete(f"{base}:group:g")
    await process.membership.join("other")  # on the same link, so that it has failed by then
    assert process.membership.keys(0) == [f"{base}:group:g", f"{base}:group:other"]


async def test_a_loop_that_waits_takes_over_by_itself(make):
    here = asyncio.get_running_loop()
    receiver = make(waiting=lambda: [here]).receiver
    with another_loop() as other:
        await call(other, receiver.be_ready())
    await until(lambda: receiver.loop is here and receiver.is_ready())


async def test_nobody_takes_over_from_one_that_was_stopped(make):
    here = asyncio.get_running_loop()
    process = make(waiting=lambda: [here])
    with another_loop() as other:
        await call(other, process.receiver.be_ready())
        await call(other, process.aclose())
    await asyncio.sleep(0)  # this loop's turn, in which it would
    assert process.receiver.loop is None


# The lease


async def test_the_lease_of_inbox_and_memberships_is_renewed(make, redis, inbox, base):
    process = make(lease=1.5)
    await process.receiver.be_ready()
    await process.membership.join("g")
    first = redis.zscore(f"{base}:group:g", "p:p")
    await until(lambda: redis.zscore(f"{base}:group:g", "p:p") > first + 1500)
    assert 0 < redis.pttl(inbox) <= 1500


async def test_groups_that_were_emptied_are_left_at_the_latest_then(make, redis, base):
    process = make(lease=0.6)
    await process.receiver.be_ready()
    await process.membership.join("g")
    process.membership.emptied("g")
    await until(lambda: not redis.exists(f"{base}:group:g"))


async def test_what_was_read_is_dropped_at_the_latest_then(make, redis, inbox):
    process = make(lease=0.6)
    await process.receiver.be_ready()
    for n in range(3):
        redis.xadd(inbox, {"gx": f"{n}"})
    await until(lambda: redis.xlen(inbox) == 1)
    assert len(process.heard) == 3
    assert process.read


async def test_what_did_not_fit_in_is_told(make, redis, base):
    process = make(lease=0.6)
    await process.receiver.be_ready()
    redis.set(f"{base}:lost:p", 3)
    await until(lambda: process.refused)
    redis.incrby(f"{base}:lost:p", 2)
    await until(lambda: len(process.refused) > 1)
    assert process.refused == [3, 2], "each once, though the server's number only grows"


async def test_an_inbox_that_is_gone_is_made_again(make, redis, inbox):
    process = make(lease=0.6)
    await process.receiver.be_ready()
    redis.delete(inbox)
    await until(lambda: process.lost)
    assert process.lost == ["the inbox was gone"]
    await until(lambda: redis.exists(inbox))


async def test_what_took_a_groups_place_is_logged(make, redis, base, caplog):
    process = make(lease=0.6)
    await process.receiver.be_ready()
    await process.membership.join("g")
    redis.delete(f"{base}:group:g")
    redis.set(f"{base}:group:g", "no group")
    await until(lambda: "should hold groups and hold something else" in caplog.text)
    assert f"{base}:group:g" in caplog.text


# A server that does not answer, or that refuses


async def test_who_waits_is_told_that_the_broker_does_not_answer(make, shared_broker, monkeypatch):
    monkeypatch.setattr("channels.layers.redis.streams.receiver.PATIENCE", 0.2)
    async with Proxy(shared_broker.address) as proxy:
        process = make(proxy.address)
        proxy.stall()
        with another_loop() as other:
            for _ in range(2):
                with pytest.raises(BrokerUnavailable, match=r"0\.2 seconds"):
                    await process.receiver.be_ready()
            with pytest.raises(BrokerUnavailable, match=r"0\.2 seconds"):
                await call(other, process.receiver.be_ready())
        proxy.flow()
        await until(process.receiver.is_ready)


async def test_who_waits_is_told_why_the_broker_refuses(make, shared_broker):
    host, port = shared_broker.address
    receiver = make(f"redis://nobody:wrong@{host}:{port}").receiver
    with pytest.raises(BrokerError, match="credentials"):
        await receiver.be_ready()
    assert not receiver.is_ready()

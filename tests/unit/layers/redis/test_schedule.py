"""The schedule on a real server: what is claimed, appended and settled, and exactly once."""

import asyncio
import itertools
import time

import pytest

from channels.layers.broker.process import ProcessChannels
from channels.layers.broker.schedule import CHANNEL, GROUP, QUEUE
from channels.layers.delays import When
from channels.layers.redis import schedule as module
from channels.layers.redis.connection.hosts import parse_hosts
from channels.layers.redis.partitions import Partitions
from channels.layers.redis.schedule import RedisSchedule
from channels.layers.redis.scripts import SCRIPTS
from channels.layers.statistics import EXPIRED, Statistics

NOW = When(0)
claims = itertools.count()


class Process:
    """A schedule as one process has it. Its partitions are on one server."""

    def __init__(self, addresses, prefix, capacity):
        self.partitions = Partitions(*parse_hosts(addresses, prefix))
        self.local = ProcessChannels(Statistics(self), lambda group: None)
        self.schedule = RedisSchedule(self.partitions, self.local, capacity)

    def count_pending(self):
        return 0

    async def claim(self, partition=0):
        """What is due there, as (kind, name, data), and in how many seconds more may be."""
        seconds, claimed = await self.schedule.claim(partition, f"claim{next(claims)}")
        return seconds, claimed

    async def one(self):
        _, (claimed,) = await self.claim()
        return claimed

    async def aclose(self):
        sender = self.partitions.senders.pop()
        if sender is not None:
            await sender.aclose()


@pytest.fixture
async def make(shared_broker, prefix):
    made = []

    def make(hosts=1, capacity=1000):
        made.append(Process([shared_broker.address] * hosts, prefix, capacity))
        return made[-1]

    yield make
    for process in made:
        await process.aclose()


@pytest.fixture
def process(make):
    return make()


@pytest.fixture
def no_lease(monkeypatch):
    """Claims end at once."""
    monkeypatch.setattr(module, "CLAIM_LEASE", 0.001)


def milliseconds():
    """Whole ones since the epoch, by the clock that the server has too."""
    return int(time.time() * 1000)


def keys(redis, base):
    return sorted(key.decode().removeprefix(base) for key in redis.scan_iter(f"{base}:later*"))


async def test_what_is_due_is_claimed_by_one_process(process, make):
    schedule = process.schedule
    assert await schedule.add(0, "a", QUEUE, "jobs", b"\x00one\n", NOW)
    assert await schedule.add(0, "b", GROUP, "chat", b"", NOW)
    before = milliseconds()
    seconds, claimed = await process.claim()
    assert [entry[2:] for entry in claimed] == [
        (QUEUE, "jobs", b"\x00one\n"),
        (GROUP, "chat", b""),
    ]
    passed = (milliseconds() - before) / 1000
    assert 15 - passed <= seconds <= 15  # until the claims end
    assert (await make().claim())[1] == []


async def test_a_claim_says_when_the_next_is_due(process):
    assert await process.claim() == (None, [])
    before = milliseconds()
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", When(30))
    await process.schedule.add(0, "b", QUEUE, "jobs", b"", When(time.time() + 60, True))
    seconds, claimed = await process.claim()
    assert claimed == []
    assert 30 - (milliseconds() + 1 - before) / 1000 <= seconds <= 30


async def test_what_is_appended_is_settled_with_it(process, redis, base):
    await process.schedule.add(0, "a", QUEUE, "jobs", b"as kept", NOW)
    claimed = await process.one()
    assert await process.schedule.append(0, claimed, b"as sent", 10, 60) == "sent"
    ((_, fields),) = redis.xrange(f"{base}:queue:jobs")
    assert fields == {b"m": b"as sent"}
    assert redis.get(f"{base}:queue:jobs:expiry") == b"60000"
    assert 110_000 < redis.pttl(f"{base}:queue:jobs") <= 120_000
    assert keys(redis, base) == []
    assert await process.schedule.append(0, claimed, b"again", 10, 60) == "lost"
    assert redis.xlen(f"{base}:queue:jobs") == 1


async def test_what_expired_in_the_queue_is_counted(process, redis, base):
    redis.xadd(f"{base}:queue:jobs", {"m": "old"}, id="1-1")
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", NOW)
    assert await process.schedule.append(0, await process.one(), b"new", 1, 60) == "sent"
    assert process.local.statistics.dropped == {EXPIRED: 1}


async def test_a_full_queue_is_tried_again_later_until_patience_ends(process, redis, base):
    redis.xadd(f"{base}:queue:jobs", {"m": "first"})
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", NOW)
    claimed, before = await process.one(), milliseconds()
    assert await process.schedule.append(0, claimed, b"", 1, 60) == "again"
    assert before <= redis.zscore(f"{base}:later", "a") - 1000 <= milliseconds()
    redis.zadd(f"{base}:later", {"a": 0})
    assert await process.schedule.append(0, await process.one(), b"", 0, 0) == "given up"
    assert keys(redis, base) == []


async def test_the_pauses_between_attempts_grow(process, redis, base):
    await process.schedule.add(0, "a", GROUP, "chat", b"", NOW)
    claimed = await process.one()
    before = milliseconds()
    ago = before - 5000
    redis.hset(f"{base}:later:messages", "@a", f"{claimed.claim} {ago} {ago}")
    assert await process.schedule.settle(0, claimed, sent=False, patience=60) == "again"
    # As long as it has been tried, once more.
    assert before + 5000 <= redis.zscore(f"{base}:later", "a") <= 2 * milliseconds() - ago


async def test_what_a_dead_process_had_claimed_is_anothers(process, make, no_lease):
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", NOW)
    late, other = await process.one(), make()
    await asyncio.sleep(0.005)
    claimed = await other.one()
    assert claimed.id == late.id
    assert await process.schedule.append(0, late, b"", 10, 60) == "lost"
    assert await process.schedule.settle(0, late, sent=True, patience=0) == "lost"
    assert await other.schedule.append(0, claimed, b"", 10, 60) == "sent"


async def test_cancelling(process, redis, base):
    cancel = process.schedule.cancel
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", When(60))
    assert await cancel(0, "a") is True
    assert await cancel(0, "a") is False
    assert keys(redis, base) == []


@pytest.mark.parametrize("kind", [QUEUE, CHANNEL, GROUP])
async def test_what_is_being_sent_can_be_cancelled_only_if_that_is_certain(process, kind):
    await process.schedule.add(0, "a", kind, "name", b"", NOW)
    claimed = await process.one()
    assert await process.schedule.cancel(0, "a") is (kind == QUEUE)
    if kind == QUEUE:
        assert await process.schedule.append(0, claimed, b"", 10, 60) == "lost"
        return
    assert await process.schedule.settle(0, claimed, sent=False, patience=60) == "again"
    assert await process.schedule.cancel(0, "a") is True


async def test_what_a_dead_process_had_claimed_can_be_cancelled(process, no_lease):
    await process.schedule.add(0, "a", GROUP, "chat", b"", NOW)
    await process.one()
    await asyncio.sleep(0.005)
    assert await process.schedule.cancel(0, "a") is True


async def test_there_is_a_bound_for_each_partition(make, redis, prefix):
    process = make(hosts=2, capacity=2)
    schedule = process.schedule
    assert schedule.partitions == 2
    for partition in range(2):
        assert await schedule.add(partition, "a", QUEUE, "jobs", b"", When(60))
        assert await schedule.add(partition, "every b", QUEUE, "jobs", b"", When(60), 60)
        assert not await schedule.add(partition, "c", QUEUE, "jobs", b"", When(60))
        assert await schedule.add(partition, "every b", QUEUE, "jobs", b"", When(60), 60)
        assert redis.zcard(f"{{{prefix}:{partition}}}:later") == 2


class TestPeriodic:
    async def test_it_is_due_at_the_next_of_its_times(self, process, redis, base):
        await process.schedule.add(0, "every a", GROUP, "chat", b"", NOW, 10)
        first = redis.zscore(f"{base}:later", "every a")
        claimed = await process.one()
        assert await process.schedule.settle(0, claimed, sent=True, patience=0) == "sent"
        assert redis.zscore(f"{base}:later", "every a") == first + 10_000

    async def test_what_was_missed_is_sent_once(self, process, redis, base):
        await process.schedule.add(0, "every a", GROUP, "chat", b"", NOW, 10)
        missed = int(time.time() * 1000) - 35_000
        redis.zadd(f"{base}:later", {"every a": missed})
        claimed = await process.one()
        assert await process.schedule.settle(0, claimed, sent=True, patience=0) == "sent"
        assert redis.zscore(f"{base}:later", "every a") == missed + 40_000
        assert (await process.claim())[1] == []

    async def test_registering_it_again_changes_all_but_its_time(self, process, redis, base):
        add = process.schedule.add
        await add(0, "every a", GROUP, "chat", b"old", When(10), 10)
        due = redis.zscore(f"{base}:later", "every a")
        await add(0, "every a", QUEUE, "jobs", b"new", When(10), 10)
        assert redis.zscore(f"{base}:later", "every a") == due
        assert redis.hgetall(f"{base}:later:messages") == {b"every a": b"q 10000 jobs\nnew"}
        await add(0, "every a", QUEUE, "jobs", b"new", When(60), 60)
        assert redis.zscore(f"{base}:later", "every a") == due
        await add(0, "every a", QUEUE, "jobs", b"new", When(1), 1)
        assert redis.zscore(f"{base}:later", "every a") < due - 8000

    async def test_registering_it_while_it_is_being_sent_makes_no_second_one(self, process):
        add = process.schedule.add
        await add(0, "every a", GROUP, "chat", b"", NOW, 10)
        claimed = await process.one()
        await add(0, "every a", GROUP, "chat", b"", NOW, 0.1)
        assert (await process.claim())[1] == []
        assert await process.schedule.cancel(0, "every a") is True
        assert await process.schedule.settle(0, claimed, sent=True, patience=0) == "lost"

    async def test_one_that_is_given_up_goes_on_with_its_next_time(self, process, redis, base):
        await process.schedule.add(0, "every a", GROUP, "chat", b"", NOW, 10)
        claimed = await process.one()
        await asyncio.sleep(0.005)
        settled = await process.schedule.settle(0, claimed, sent=False, patience=0.001)
        assert settled == "given up"
        assert redis.zscore(f"{base}:later", "every a") > time.time() * 1000
        assert redis.hgetall(f"{base}:later:messages") == {b"every a": b"g 10000 chat\n"}


async def test_what_nobody_comes_for_is_kept_for_a_month_after_its_time(process, redis, base):
    day = 86_400_000
    await process.schedule.add(0, "a", QUEUE, "jobs", b"", When(86400))
    for key in (f"{base}:later", f"{base}:later:messages"):
        assert 30.9 * day < redis.pttl(key) <= 31 * day
        redis.pexpire(key, day)
    await process.claim()
    for key in (f"{base}:later", f"{base}:later:messages"):
        assert 29.9 * day < redis.pttl(key) <= 30 * day


async def test_what_others_have_put_there_is_passed_on_or_over(process, redis, base):
    redis.zadd(f"{base}:later", {"gone": 1, "strange": 2})
    redis.hset(f"{base}:later:messages", "strange", b"\xff\x00 nothing")
    claimed = await process.one()
    assert claimed.kind not in (QUEUE, CHANNEL, GROUP)
    assert redis.zscore(f"{base}:later", "gone") is None
    assert await process.schedule.settle(0, claimed, sent=True, patience=0) == "sent"
    assert keys(redis, base) == []


async def test_a_repeated_call_answers_as_it_did(redis, base):
    def run(script, number, extra, *arguments):
        names = [f"{base}:later", f"{base}:later:messages", *extra, f"{base}:sender:s"]
        return redis.eval(SCRIPTS[script].source, len(names), *names, number, 60_000, *arguments)

    def schedule(number, name, capacity=1):
        return run("schedule", number, [], name, b"q 0 jobs\nm", 0, 0, capacity, 1000)

    assert [schedule(1, "a") for _ in range(2)] == [1, 1]
    assert [schedule(2, "b") for _ in range(2)] == [0, 0]
    assert redis.zcard(f"{base}:later") == 1
    names = [f"{base}:later", f"{base}:later:messages"]
    redis.eval(SCRIPTS["claim"].source, 2, *names, "claim", 1000, 10, 1000)
    queue = [f"{base}:queue:jobs", f"{base}:queue:jobs:expiry"]
    full = ["a", "claim", 1, 60_000, b"m", 0, 60_000]
    assert [run("settle", 3, queue, *full) for _ in range(2)] == [[-2, 0], [-2, 0]]
    redis.zadd(f"{base}:later", {"a": 0})
    redis.eval(SCRIPTS["claim"].source, 2, *names, "claim", 1000, 10, 1000)
    room = ["a", "claim", 1, 60_000, b"m", 9, 60_000]
    assert [run("settle", 4, queue, *room) for _ in range(2)] == [[1, 0], [1, 0]]
    assert redis.xlen(queue[0]) == 1
    assert schedule(5, "c") == 1
    assert [run("unschedule", 6, [], "c") for _ in range(2)] == [1, 1]
    assert [run("unschedule", 7, [], "c") for _ in range(2)] == [0, 0]

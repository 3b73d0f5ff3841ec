"""The schedule of a layer within one process, in real time."""

import asyncio
import gc
import os
import threading
import weakref

import pytest

from channels._runtime import clock
from channels.exceptions import ChannelFull, InvalidScheduleError, ScheduleFull
from channels.layers import schedule as module
from channels.layers.schedule import Schedule, Scheduled

from .helpers import until


class Sent:
    """Takes note of what is sent and when; ``answers`` are what sending returns."""

    def __init__(self, *answers):
        self.names, self.ages, self.times, self.threads = [], [], [], set()
        self.answers = list(answers)

    def later(self, name, delay, **options):
        async def send(age):
            self.names.append(name)
            self.ages.append(age)
            self.times.append(clock.now())
            self.threads.add(threading.current_thread().name)
            return self.answers.pop(0) if self.answers else True

        return Scheduled(send, clock.now() + delay, **options)


@pytest.fixture
def schedule():
    schedule = Schedule(capacity=200)
    yield schedule
    schedule.clear()


async def test_messages_are_sent_in_the_order_of_their_times(schedule):
    sent, start = Sent(), clock.now()
    for name, delay in (("past", -1), ("c", 0.15), ("a", 0.05), ("b", 0.1)):
        schedule.add(sent.later(name, delay))
    await until(lambda: len(sent.names) == 4)
    assert sent.names == ["past", "a", "b", "c"]
    assert sent.times[-1] - start >= 0.145
    assert len(schedule) == 0
    assert len(sent.threads) == 1


async def test_many_that_are_due_at_once_keep_their_order(schedule):
    sent, due = Sent(), clock.now() + 0.02
    for number in range(100):
        entry = sent.later(number, 0)
        entry.due = due
        schedule.add(entry)
    await until(lambda: len(sent.names) == 100)
    assert sent.names == list(range(100))


def test_event_loops_and_threads_that_have_ended_do_not_matter(schedule):
    sent = Sent()

    async def add(name):
        schedule.add(sent.later(name, 0.05))

    asyncio.run(add("loop"))
    thread = threading.Thread(target=lambda: schedule.add(sent.later("thread", 0.05)))
    thread.start()
    thread.join()
    asyncio.run(until(lambda: len(sent.names) == 2))
    assert sent.names == ["loop", "thread"]


async def test_what_was_cancelled_is_not_sent_and_takes_no_memory(schedule):
    sent = Sent()
    for _ in range(10):
        keys = [schedule.add(sent.later("cancelled", 60)) for _ in range(190)]
        assert all(schedule.cancel(key) for key in keys)
        assert not schedule.cancel(keys[0])
    assert len(schedule._heap) < 1000
    schedule.add(sent.later("sent", 0.05))
    await until(lambda: sent.names)
    assert sent.names == ["sent"]


async def test_there_is_a_bound(schedule):
    sent, schedule = Sent(), Schedule(capacity=1)
    key = schedule.add(sent.later("first", 60))
    with pytest.raises(ScheduleFull, match="1 messages wait to be sent later") as caught:
        schedule.add(sent.later("second", 60))
    assert isinstance(caught.value, ChannelFull)
    assert schedule.cancel(key)
    schedule.add(sent.later("third", 60))
    schedule.clear()
    assert len(schedule) == 0


@pytest.mark.parametrize("handle", [None, 7, "", "ab.0.cd", "every clock"])
def test_what_is_no_handle_is_refused(handle):
    with pytest.raises(InvalidScheduleError, match="is no handle"):
        Schedule.require_handle(handle)


async def test_what_could_not_be_sent_is_tried_again_later_each_time(schedule, monkeypatch):
    monkeypatch.setattr(module, "RETRY", 0.02)
    sent = Sent(False, False, False)
    schedule.add(sent.later("retried", 0))
    await until(lambda: len(sent.names) == 4)
    pauses = [b - a for a, b in zip(sent.times, sent.times[1:], strict=False)]
    assert pauses[0] >= 0.015
    assert pauses[2] > pauses[0]
    assert sent.ages[0] == 0
    assert sent.ages == sorted(sent.ages)
    assert len(schedule) == 0


async def test_what_is_tried_again_can_be_cancelled(schedule):
    sent = Sent(False)
    key = schedule.add(sent.later("retried", 0))
    await until(lambda: sent.names and len(schedule) == 1)
    assert schedule.cancel(key)


class TestPeriodic:
    def add(self, schedule, sent, name, period):
        return schedule.add(sent.later(name, period, period=period, key="every clock"))

    async def test_it_is_sent_at_its_times_and_not_twice_when_it_is_registered_again(
        self, schedule
    ):
        sent, start = Sent(), clock.now()
        for name in ("old", "old", "new"):
            self.add(schedule, sent, name, 0.05)
        await until(lambda: len(sent.names) == 3)
        assert sent.names == ["new"] * 3
        assert sent.times[-1] - start > 0.14
        assert schedule.cancel("every clock")
        assert len(schedule) == 0

    async def test_a_shorter_period_begins_at_once_and_a_longer_one_after_the_next(self, schedule):
        sent = Sent()
        self.add(schedule, sent, "slow", 60)
        self.add(schedule, sent, "fast", 0.02)
        await until(lambda: len(sent.names) == 2)
        self.add(schedule, sent, "slow again", 60)
        await until(lambda: sent.names[-1] == "slow again")
        entry = schedule._entries["every clock"]
        await until(lambda: entry.moment is not None and entry.moment > clock.now() + 50)

    async def test_what_was_missed_is_sent_once(self, schedule):
        sent = Sent()
        entry = sent.later("missed", -10.05, period=0.1, key="every clock")
        schedule.add(entry)
        await until(lambda: len(sent.names) == 2)
        assert sent.times[1] - sent.times[0] < 1
        assert (sent.times[1] - entry.due) < 0.5

    async def test_one_that_is_ended_while_it_is_being_sent_is_not_sent_again(self, schedule):
        ended = []

        async def send(age):
            ended.append(schedule.cancel("every clock"))
            return len(ended) != 1

        schedule.add(Scheduled(send, clock.now(), 0.02, "every clock"))
        await until(lambda: ended == [True])
        schedule.add(Scheduled(send, clock.now(), 0.02, "every clock"))
        await until(lambda: ended == [True, True])
        assert len(schedule) == 0

    async def test_one_that_could_not_be_sent_goes_on(self, schedule, monkeypatch):
        monkeypatch.setattr(module, "RETRY", 0.01)
        sent = Sent(False)
        self.add(schedule, sent, "retried", 0.05)
        await until(lambda: len(sent.names) == 3)
        assert sent.ages[0] == 0
        assert sent.ages[1] > 0
        assert sent.ages[2] == 0


async def test_no_timer_keeps_a_schedule_that_nobody_needs():
    sent = Sent()
    schedule = Schedule(capacity=10)
    schedule.add(sent.later("never", 0.05))
    gone = weakref.ref(schedule)
    await until(lambda: gone()._timer is not None)
    del schedule
    gc.collect()
    assert gone() is None
    other = Schedule(capacity=10)
    other.add(sent.later("later", 0.1))
    await until(lambda: sent.names)
    assert sent.names == ["later"]


async def test_a_schedule_may_go_before_its_timer_is_set(schedule):
    module._call(weakref.WeakMethod(Schedule(capacity=1)._wind_up))
    schedule._wind_up()
    assert schedule._timer is None


def test_a_forked_child_sends_nothing_of_its_parent(schedule):
    sent = Sent()
    schedule.add(sent.later("parent's", 0.2))
    child = os.fork()
    if child == 0:  # pragma: no cover - of the child
        try:
            assert len(schedule) == 0
            schedule.add(sent.later("child's", 0))
            asyncio.run(until(lambda: sent.names == ["child's"]))
            os._exit(0)
        finally:
            os._exit(1)
    _, status = os.waitpid(child, 0)
    assert status == 0
    asyncio.run(until(lambda: sent.names == ["parent's"]))

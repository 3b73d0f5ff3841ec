"""When a scheduler looks for what is due, on which event loop, and what ends it."""

import asyncio
import logging
import threading

import pytest
from asgiref.sync import async_to_sync

from channels._runtime import clock
from channels._runtime.loops import bridge
from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import scheduler as module
from channels.layers.broker.scheduler import Scheduler

from ..helpers import until


class Looks:
    """Where and when a scheduler looks. ``answers`` are what it finds: seconds, or an error."""

    def __init__(self, *answers, partitions=1):
        self.times, self.partitions, self.loops = [], [], []
        self.answers = list(answers)
        self.waiting = set()
        self.sending = None  # what sending waits for, if it takes a while
        self.sent = []
        self.scheduler = Scheduler(self.claim, self.send, partitions, lambda: self.waiting)

    async def claim(self, partition):
        self.times.append(clock.now())
        self.partitions.append(partition)
        self.loops.append(asyncio.get_running_loop())
        answer = self.answers.pop(0) if self.answers else None
        if isinstance(answer, Exception):
            raise answer
        return answer if isinstance(answer, tuple) else (answer, [])

    async def send(self, partition, claimed, since, is_ending):
        assert 0 <= clock.now() - since < 5
        for entry in claimed:
            if self.sending is not None:
                await self.sending.wait()
            self.sent.append((entry, is_ending()))

    def __len__(self):
        return len(self.times)


@pytest.fixture
def poll(monkeypatch):
    """A short time between looks."""
    monkeypatch.setattr(module, "POLL", 0.02)


async def test_it_looks_at_once_and_when_something_is_due():
    looks = Looks(0.03, 0.0)
    looks.scheduler.watch()
    looks.scheduler.watch()
    await until(lambda: len(looks) == 3)
    assert 0.02 < looks.times[1] - looks.times[0] < 0.5
    assert looks.times[2] - looks.times[1] < 0.5
    await looks.scheduler.stop()
    assert looks.scheduler.loop is None


async def test_it_looks_again_and_again_in_each_partition(poll):
    looks = Looks(partitions=3)
    looks.scheduler.watch()
    await until(lambda: len(looks) >= 9)
    assert set(looks.partitions) == {0, 1, 2}
    await looks.scheduler.stop()
    count = len(looks)
    await asyncio.sleep(0.06)
    assert len(looks) == count
    looks.scheduler.watch()
    await until(lambda: len(looks) > count)
    await looks.scheduler.stop()


async def test_what_this_process_schedules_is_expected():
    looks = Looks(partitions=2)
    looks.scheduler.expect(1, 0.0)  # nobody looks
    looks.scheduler.watch()
    await until(lambda: len(looks) == 2)
    looks.scheduler.expect(1, 0.5)
    await asyncio.to_thread(looks.scheduler.expect, 1, 0.02)
    looks.scheduler.expect(1, 0.9)
    await until(lambda: len(looks) == 3)
    assert looks.partitions == [0, 1, 1]
    assert looks.times[2] - looks.times[1] < 0.8
    await looks.scheduler.stop()


async def test_what_is_scheduled_while_it_looks_is_not_missed():
    looks = Looks((None, ["entry"]), None)
    looks.sending = asyncio.Event()
    looks.scheduler.watch()
    await until(lambda: looks)
    looks.scheduler.expect(0, 0.01)
    looks.sending.set()
    await until(lambda: len(looks) == 3)
    assert looks.times[2] - looks.times[0] < 0.8
    await looks.scheduler.stop()


async def test_it_looks_at_once_for_more_after_it_has_sent_something():
    looks = Looks((15.0, ["a", "b"]), (15.0, ["c"]))
    looks.scheduler.watch()
    await until(lambda: len(looks) == 3)
    assert looks.sent == [("a", False), ("b", False), ("c", False)]
    assert looks.times[2] - looks.times[0] < 0.8
    await looks.scheduler.stop()


@pytest.mark.parametrize("elsewhere", [False, True])
async def test_what_is_being_sent_when_it_stops_is_finished(elsewhere):
    looks = Looks((None, ["a", "b"]), partitions=2)
    looks.sending = asyncio.Event()
    looks.scheduler.watch()
    await until(lambda: looks)
    if elsewhere:
        stopping = asyncio.create_task(asyncio.to_thread(asyncio.run, looks.scheduler.stop()))
    else:
        stopping = asyncio.create_task(looks.scheduler.stop())
    await until(lambda: looks.scheduler.loop is None)
    await asyncio.sleep(0.02)
    assert not stopping.done()
    looks.sending.set()
    await stopping
    assert looks.sent == [("a", True), ("b", True)]
    assert len(looks) == 2


async def test_what_takes_too_long_when_it_stops_is_cancelled(monkeypatch):
    monkeypatch.setattr(module, "_FINISHING", 0.02)
    looks = Looks((None, ["a"]))
    looks.sending = asyncio.Event()
    looks.scheduler.watch()
    await until(lambda: looks)
    await looks.scheduler.stop()
    assert looks.sent == []


def test_an_event_loop_that_ends_finishes_what_is_being_sent():
    looks = Looks((None, ["a"]))

    async def main():
        looks.sending = asyncio.Event()
        looks.scheduler.watch()
        await until(lambda: looks)
        asyncio.get_running_loop().call_later(0.05, looks.sending.set)

    asyncio.run(main())
    assert looks.sent == [("a", True)]
    assert len(looks) == 1


async def test_errors_do_not_end_it_and_the_log_has_those_that_last(poll, caplog):
    unavailable, refused = BrokerUnavailable("away"), BrokerError("no right to EVALSHA")
    looks = Looks(unavailable, refused, OSError("odd"))
    looks.scheduler.watch()
    await until(lambda: len(looks) == 4)
    await looks.scheduler.stop()
    errors = [record for record in caplog.records if record.levelno == logging.ERROR]
    assert [record.getMessage() for record in errors] == [
        "Scheduled messages are not sent: no right to EVALSHA",
        "Scheduled messages are not sent: odd",
    ]
    assert [bool(record.exc_info) for record in errors] == [False, True]


def test_a_loop_for_a_single_call_leaves_it_to_the_bridge(poll):
    looks = Looks()

    async def watch():
        looks.scheduler.watch()

    busy = threading.Event()
    bridge.loop.call_soon_threadsafe(busy.wait)
    async_to_sync(watch)()
    async_to_sync(watch)()  # before the bridge comes to the first
    busy.set()
    asyncio.run(until(lambda: len(looks) > 3))
    assert set(looks.loops) == {bridge.loop}
    bridge.call(looks.scheduler.stop())


async def test_another_loop_goes_on_when_this_one_ends(poll):
    looks = Looks()
    looks.waiting = {asyncio.get_running_loop()}

    async def elsewhere():
        looks.scheduler.watch()
        await until(lambda: looks)

    await asyncio.to_thread(asyncio.run, elsewhere())
    here = asyncio.get_running_loop()
    await until(lambda: looks.loops[-1] is here)
    await looks.scheduler.stop()


async def test_it_is_stopped_from_another_loop(poll):
    looks, over = Looks(), threading.Event()

    async def elsewhere():
        looks.scheduler.watch()
        await asyncio.to_thread(over.wait)

    thread = threading.Thread(target=asyncio.run, args=(elsewhere(),))
    thread.start()
    await until(lambda: looks)
    looks.scheduler.watch()  # there is one
    await looks.scheduler.stop()
    count = len(looks)
    await asyncio.sleep(0.06)
    assert len(looks) <= count + 1
    over.set()
    await asyncio.to_thread(thread.join)
    await looks.scheduler.stop()


async def test_a_loop_that_was_closed_is_as_good_as_none(poll):
    looks = Looks()
    loop = asyncio.new_event_loop()

    async def watch():
        looks.scheduler.watch()

    await asyncio.to_thread(loop.run_until_complete, watch())
    loop.close()
    looks.scheduler.expect(0, 0)
    await looks.scheduler.stop()
    looks.scheduler.watch()
    await until(lambda: looks)
    await looks.scheduler.stop()

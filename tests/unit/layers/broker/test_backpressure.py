import asyncio
import math
import time

import pytest

from channels.layers.broker import backpressure as backpressure_module
from channels.layers.broker.backpressure import Backpressure
from channels.layers.local import LocalChannels

from ....asgi import until
from ..helpers import balanced, message

CAPACITY = 3


class Here(LocalChannels):
    """Mailboxes of consumers, all in one group, and a reader that hands over numbered messages."""

    def __init__(self, members):
        super().__init__(capacity=CAPACITY)
        self.mailboxes = [self.open_mailbox(f"c{n}", lambda: None) for n in range(members)]
        for mailbox in self.mailboxes:
            self.join("group", mailbox.channel)
        self.backpressure = Backpressure()
        self.rest = iter(())
        self.over = asyncio.Event()

    def hand_over(self, count, age=0):
        self.rest, self.age = iter(range(count)), age
        self.go_on()
        return self

    def go_on(self):
        for n in self.rest:
            entry = (backpressure_module.now() + self.expiry - self.age, lambda n=n: message(n))
            late = self.deliver_to_group("group", entry, self.backpressure.seconds)
            if late is not None and self.backpressure.wait(late, self.go_on):
                return
        self.over.set()

    async def until_over(self):
        async with asyncio.timeout(10):
            await self.over.wait()
        assert balanced(self)
        return self.statistics.dropped.get("capacity", 0)


async def read(mailbox, pause=0.0):
    """Take message by message; give the numbers back when cancelled."""
    taken = []
    try:
        while True:
            found = mailbox.take()
            if found is not None:
                taken.append(found.get("n", "gap"))
            await asyncio.sleep(pause)
    except asyncio.CancelledError:
        return taken


async def finish(readers):
    for reader in readers:
        reader.cancel()
    return await asyncio.gather(*readers)


@pytest.mark.parametrize("pause", [0.0, 0.001])
async def test_what_is_read_is_waited_for(pause):
    here = Here(5)
    readers = [asyncio.create_task(read(mailbox, pause)) for mailbox in here.mailboxes]
    await asyncio.sleep(0)
    here.hand_over(100)
    assert await here.until_over() == 0
    await until(lambda: not here.count_pending())
    assert await finish(readers) == [list(range(100))] * 5


async def test_a_busy_event_loop_makes_nobody_impatient(monkeypatch):
    """A consumer needs a few turns for each message, and something else makes turns long."""
    monkeypatch.setattr(backpressure_module, "_ORDINARY", 0.15)
    here = Here(1)

    async def read_in_several_turns():
        while True:
            here.mailboxes[0].take()
            for _ in range(6):
                time.sleep(0.005)
                await asyncio.sleep(0)

    reader = asyncio.create_task(read_in_several_turns())
    await asyncio.sleep(0)
    assert await here.hand_over(40).until_over() == 0
    reader.cancel()


async def test_what_nobody_reads_is_waited_for_only_once():
    here = Here(3)
    here.hand_over(100)
    assert here.backpressure.pausing
    assert await here.until_over() == 3 * (100 - CAPACITY)
    here.hand_over(100)
    assert not here.backpressure.pausing, "it is behind"
    assert here.statistics.dropped == {"capacity": 3 * (200 - CAPACITY)}


async def test_others_get_theirs_while_one_is_waited_for():
    here = Here(2)
    reader = asyncio.create_task(read(here.mailboxes[0]))
    await asyncio.sleep(0)
    here.hand_over(100)
    assert await here.until_over() == 100 - CAPACITY
    await until(lambda: not here.mailboxes[0].qsize())
    assert await finish([reader]) == [list(range(100))]
    assert [found["n"] for found in iter(here.mailboxes[1].take, None) if "n" in found] == [0, 1, 2]


async def test_a_mailbox_that_was_full_for_long_is_not_waited_for():
    here = Here(1)
    here.hand_over(CAPACITY, age=2)
    here.hand_over(1)
    assert not here.backpressure.pausing
    assert here.statistics.dropped == {"capacity": 1}


async def test_pauses_in_ordinary_times_have_an_end(monkeypatch):
    """Consumers that read too slowly get something and lose something."""
    monkeypatch.setattr(backpressure_module, "_ORDINARY", 0.05)
    here = Here(1)
    reader = asyncio.create_task(read(here.mailboxes[0], 0.005))
    await asyncio.sleep(0)
    here.backpressure._left = 0.05
    lost = await here.hand_over(1000).until_over()
    assert 0 < lost < 1000 - CAPACITY
    await until(lambda: not here.count_pending() and here.mailboxes[0].gap is None)
    (taken,) = await finish([reader])
    assert len(taken) - taken.count("gap") == 1000 - lost
    assert taken.count("gap") >= 1


async def test_after_a_delay_there_is_as_much_time_as_that_took():
    backpressure = Backpressure()
    backpressure.note_delay(0.5)
    assert not backpressure.catching_up, "that is ordinary"
    backpressure.note_delay(3.0)
    assert backpressure._left == 3.0
    backpressure.rest()
    assert backpressure.seconds == math.inf, "there may be more to come"
    backpressure._until = 0.0
    backpressure.rest()
    assert not backpressure.catching_up
    assert backpressure._left <= 2.0
    backpressure.note_delay(1000.0)
    assert backpressure._left == 10.0


@pytest.mark.parametrize("end", ["hurry", "stop"])
async def test_what_is_late_is_settled_at_the_end(end):
    here = Here(1)
    here.hand_over(CAPACITY + 5)
    getattr(here.backpressure, end)()
    assert not here.backpressure.pausing
    assert here.over.is_set() == (end == "hurry")
    assert here.statistics.dropped == {"capacity": 5 if end == "hurry" else 1}
    assert balanced(here)


async def test_a_consumer_that_leaves_is_not_waited_for():
    here = Here(1)
    here.hand_over(CAPACITY + 5)
    await here.close_mailbox(here.mailboxes[0])
    await here.until_over()
    assert here.statistics.dropped == {"closed": CAPACITY + 1}, "it is in no group any more"


async def test_nobody_is_waited_for_after_a_hurry():
    here = Here(1)
    here.backpressure.hurry()
    here.hand_over(CAPACITY + 5)
    assert here.over.is_set()
    assert not here.backpressure.pausing
    assert here.statistics.dropped == {"capacity": 5}

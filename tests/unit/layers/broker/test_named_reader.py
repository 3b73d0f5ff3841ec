"""Callers that wait in line for what a broker hands out, over a broker that is a list."""

import asyncio
from collections import deque

import pytest

from channels.exceptions import BrokerError, BrokerUnavailable
from channels.layers.broker import named_reader, reconnecting
from channels.layers.broker.named_reader import NamedReader

from ....asgi import until


class Shelf(NamedReader[str]):
    """Reads a list, as often as it is told that there is something.

    Attributes:
        queue: what the broker has.
        news: set when there may be something.
        on_take: awaited for each message that a caller is to have; what it returns is the answer.
        fail: what reading raises, if set.
        again: how often reading asks for another connection.
        connections: how many there were.
        left: how many callers have given up.
        ended: whether all was given back at the end.
    """

    def __init__(self):
        self.held = deque()
        super().__init__(
            "the shelf",
            "jobs",
            lambda error: isinstance(error, OSError),
            lambda error, what="": BrokerError(f"The shelf refused {what}: {error}"),
            self.held,
        )
        self.queue, self.news = [], asyncio.Event()
        self.on_take = self.fail = None
        self.again = self.connections = self.left = 0
        self.ended = False

    def put(self, *messages):
        self.queue.extend(messages)
        self.news.set()

    async def read(self):
        self.connections += 1
        while await self.want():
            if self.fail:
                raise self.fail
            if self.queue:
                self.held.append(self.queue.pop(0))
                self._reconnector.works()
                self.serve()
            elif self.again:
                self.again -= 1
                return True
            else:
                self.news.clear()
                await self.news.wait()
        return False

    async def take(self, message):
        return True if self.on_take is None else await self.on_take(message)

    def hold_again(self, message):
        self.held.appendleft(message)

    async def give_back(self):
        self.queue[:0] = self.held
        self.held.clear()

    async def give_back_all(self):
        await self.give_back()
        self.ended = True

    def caller_left(self):
        self.left += 1

    def interrupt(self):
        self.news.set()


@pytest.fixture
async def shelf(monkeypatch):
    monkeypatch.setattr(reconnecting, "_BACKOFF_FIRST", 0.001)
    shelf = Shelf()
    yield shelf
    await shelf.aclose()


async def waits(shelf):
    """A caller that waits in line."""
    waiting = len(shelf._callers)
    caller = asyncio.create_task(shelf.next())
    await until(lambda: len(shelf._callers) > waiting)
    return caller


async def give_up(caller):
    caller.cancel()
    await asyncio.wait((caller,))
    assert caller.cancelled()


async def test_callers_are_served_in_line(shelf):
    callers = [await waits(shelf) for _ in range(3)]
    assert shelf.callers == 3
    assert shelf.is_wanted()
    shelf.put("a", "b", "c")
    assert await asyncio.gather(*callers) == ["a", "b", "c"]
    assert shelf.callers == 0
    assert not shelf.is_wanted()
    assert shelf.connections == 1


async def test_no_more_is_read_than_callers_wait_for(shelf):
    caller = await waits(shelf)
    shelf.put("a", "b")
    assert await caller == "a"
    assert shelf.queue == ["b"]
    assert await shelf.next() == "b"


async def test_who_gives_up_is_passed_over(shelf):
    first, second = await waits(shelf), await waits(shelf)
    await give_up(first)
    assert shelf.left == 1
    shelf.put("a")
    assert await second == "a"


async def test_a_message_that_comes_as_its_caller_gives_up_is_for_the_next_one(shelf):
    first, second = await waits(shelf), await waits(shelf)
    shelf.held.append("a")
    shelf.serve()
    await give_up(first)
    assert shelf.left == 0
    assert await second == "a"


async def test_a_message_is_kept_until_somebody_wants_it(shelf):
    first = await waits(shelf)
    shelf.held.append("a")
    shelf.serve()
    await give_up(first)
    assert list(shelf.held) == ["a"]
    assert await shelf.next() == "a"


async def test_a_caller_that_gives_up_in_the_same_turn_takes_no_message_along(shelf):
    first, second = await waits(shelf), await waits(shelf)
    first.cancel()
    shelf.held.append("a")
    shelf.serve()
    assert await second == "a"
    assert first.cancelled()


async def test_what_another_reader_has_taken_is_passed_over(shelf):
    async def take(message):
        return message != "a"

    shelf.on_take = take
    shelf.put("a", "b")
    assert await shelf.next() == "b"


async def test_what_nobody_wants_for_a_while_is_given_back(shelf, monkeypatch):
    caller = await waits(shelf)
    monkeypatch.setattr(named_reader, "HOLD", 0.01)
    shelf.held.append("a")
    shelf.serve()
    await give_up(caller)
    shelf.news.set()
    await until(lambda: shelf.queue == ["a"])
    assert not shelf.held


async def test_nothing_reads_when_nobody_has_waited_for_long(shelf, monkeypatch):
    monkeypatch.setattr(named_reader, "IDLE", 0.01)
    shelf.put("a")
    assert await shelf.next() == "a"
    await until(shelf._task.done)
    shelf.put("b")
    assert await shelf.next() == "b"
    assert shelf.connections == 2


async def test_a_connection_that_breaks_is_made_again(shelf):
    caller = await waits(shelf)
    shelf.fail = ConnectionError("down")
    shelf.news.set()
    await until(lambda: shelf._reconnector.failures)
    shelf.fail = None
    shelf.put("a")
    assert await caller == "a"
    assert shelf.connections >= 2


async def test_another_connection_is_made_at_once_where_reading_asks_for_it(shelf):
    shelf.again = 1
    caller = await waits(shelf)
    await until(lambda: shelf.connections == 2)
    assert shelf._reconnector.failures == 0
    shelf.put("a")
    assert await caller == "a"


async def test_callers_are_told_what_is_refused_and_later_ones_are_served(shelf):
    shelf.fail = ValueError("no entrance")
    caller = asyncio.create_task(shelf.next())
    with pytest.raises(BrokerError, match="The shelf refused to hand out messages: no entrance"):
        await caller
    shelf.fail = None
    shelf.put("a")
    assert await shelf.next() == "a"


async def test_an_error_may_be_seen_in_another_light(shelf, monkeypatch):
    monkeypatch.setattr(shelf, "examined", lambda error: ValueError("moved"))
    shelf.fail = ConnectionError("a riddle")
    with pytest.raises(BrokerError, match="moved"):
        await shelf.next()
    shelf.fail = None


async def test_one_that_nobody_waits_for_any_more_does_not_connect_again(shelf, monkeypatch):
    shelf.fail = ConnectionError("down")
    caller = await waits(shelf)
    await until(lambda: shelf._reconnector.failures)
    monkeypatch.setattr(named_reader, "IDLE", 0.01)
    await give_up(caller)
    made = shelf.connections
    await until(shelf._task.done)
    assert shelf.connections == made


async def test_callers_are_told_that_the_layer_is_closed(shelf):
    caller = await waits(shelf)
    await shelf.aclose()
    with pytest.raises(BrokerUnavailable, match="The layer has been closed"):
        await caller
    assert shelf.ended


async def test_a_read_that_does_not_end_is_cancelled_at_the_end(shelf, monkeypatch):
    monkeypatch.setattr(named_reader, "_CLOSING", 0.01)
    monkeypatch.setattr(shelf, "interrupt", lambda: None)
    caller = await waits(shelf)
    await until(lambda: shelf.connections)
    task = shelf._task
    await shelf.aclose()
    assert task.cancelled()
    with pytest.raises(BrokerUnavailable):
        await caller


async def test_one_that_never_read_gives_nothing_back(shelf):
    await shelf.aclose()
    assert not shelf.ended

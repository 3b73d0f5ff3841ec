"""One channel's queue: overflow, expiry, waking, and waiting in line."""

import asyncio
import sys
import threading

import pytest

from channels.exceptions import ChannelFull
from channels.layers import InMemoryChannelLayer
from channels.layers.mailbox import GAP, check_overflow
from channels.layers.statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE

from .helpers import balanced, holds_nothing, in_thread, message, soon, until, waiting
from .test_messages import OnlyOnce


def take_all(mailbox):
    taken = []
    while (found := mailbox.take()) is not None:
        taken.append("gap" if found["type"] == GAP else found["n"])
    return taken


@pytest.mark.parametrize("name", ["", "drop", "DROP_OLDEST", None])
def test_an_unknown_policy_is_refused_with_the_known_ones(name):
    with pytest.raises(ValueError, match="choose one of drop_newest, drop_oldest, disconnect"):
        check_overflow(name)
    with pytest.raises(ValueError, match="Unknown overflow policy"):
        InMemoryChannelLayer(overflow=name)


@pytest.mark.parametrize("capacity", [1, 256, 257])  # what holds few messages is another type
async def test_it_holds_as_many_as_its_capacity_in_order(capacity, drops):
    layer = InMemoryChannelLayer(capacity=capacity, overflow="drop_oldest")
    mailbox = layer.open_mailbox("a", lambda: None)
    for n in range(capacity + 2):
        await layer.send("a", message(n))
    assert mailbox.qsize() == capacity
    assert take_all(mailbox) == ["gap", *range(2, capacity + 2)]
    assert drops == [("a", CAPACITY, 1)] * 2
    assert balanced(layer)


def test_an_idle_mailbox_occupies_next_to_nothing():
    layer = InMemoryChannelLayer()
    assert sys.getsizeof(layer._find("a")._queue) < 100


@pytest.mark.parametrize("expiry", [60, float("inf")])
async def test_a_consumer_that_reads_is_waited_for_whatever_the_expiry(expiry):
    layer = InMemoryChannelLayer(capacity=1, expiry=expiry)
    mailbox = layer.open_mailbox("a", lambda: None)
    await layer.group_add("group", "a")
    await layer.send("a", message(0))
    late = layer.deliver_to_group("group", (expiry + 1e9, lambda: message(1)), patience=60.0)
    assert late is not None
    assert take_all(mailbox) == [0]
    late.settle()
    assert take_all(mailbox) == [1]


@pytest.mark.parametrize("attached", [True, False])
@pytest.mark.parametrize("way", ["send", "group_send"])
@pytest.mark.parametrize(
    ("overflow", "kept"),
    [("drop_newest", (0, 1, 2)), ("drop_oldest", (2, 3, 4)), ("disconnect", (0, 1, 2))],
)
async def test_overflow(overflow, kept, way, attached, drops):
    kept = list(kept)
    layer = InMemoryChannelLayer(capacity=3, overflow=overflow)
    await layer.group_add("group", "a")
    mailbox = layer.open_mailbox("a", lambda: None) if attached else None
    refused = 0
    for n in range(5):
        try:
            await getattr(layer, way)("a" if way == "send" else "group", message(n))
        except ChannelFull:
            refused += 1
    lossless = way == "send" and overflow != "drop_oldest"
    assert refused == (2 if lossless else 0)
    assert drops == ([] if lossless else [("a", CAPACITY, 1)] * 2)
    assert layer.statistics.sent == (3 if lossless else 5)
    assert balanced(layer)
    if attached:
        assert mailbox.overflowed is (overflow == "disconnect")
        where = {"drop_newest": len(kept), "drop_oldest": 0, "disconnect": None}[overflow]
        if where is not None and not lossless:  # who is refused knows it; who is closed need not
            kept.insert(where, "gap")
        assert take_all(mailbox) == kept
        await mailbox.close()
    else:
        assert [(await layer.receive("a"))["n"] for _ in range(3)] == kept
    assert balanced(layer)


@pytest.mark.parametrize("overflow", ["drop_newest", "drop_oldest", "disconnect"])
async def test_a_channel_of_capacity_zero_takes_nothing(overflow):
    layer = InMemoryChannelLayer(channel_capacity={"shut": 0}, overflow=overflow)
    with pytest.raises(ChannelFull):
        await layer.send("shut", message())
    assert layer.statistics.sent == 0


async def test_the_policy_disconnect_wakes_the_consumer(clock):
    layer = InMemoryChannelLayer(capacity=1, overflow="disconnect")
    woken = []
    mailbox = layer.open_mailbox("a", lambda: woken.append(mailbox.overflowed))
    await layer.send("a", message())
    with pytest.raises(ChannelFull):
        await layer.send("a", message())
    assert woken == [False, True]


async def test_expired_messages_make_room_before_anything_is_refused(clock, drops):
    """Also in a mailbox whose turn to be looked at has not come."""
    layer = InMemoryChannelLayer(capacity=2, expiry=60)
    mailbox = layer.open_mailbox("a", lambda: None)
    for n in (0, 1):
        await layer.send("a", message(n))
    clock.advance(60)
    await layer.send("a", message(2))
    assert drops == [("a", EXPIRED, 2)]
    assert take_all(mailbox) == ["gap", 2]
    assert balanced(layer)


async def test_expiry_while_it_waits(clock, drops):
    layer = InMemoryChannelLayer(expiry=60)
    mailbox = layer.open_mailbox("a", lambda: None)
    await layer.send("a", message(0))
    clock.advance(30)
    await layer.send("a", message(1))
    clock.advance(29.9)
    await layer.send("a", message(2))
    clock.advance(0.1)
    assert take_all(mailbox) == ["gap", 1, 2]
    assert drops == [("a", EXPIRED, 1)]
    assert balanced(layer)


# Waking


async def test_a_consumer_is_woken_for_the_first_message_and_after_it_took_the_last():
    layer, woken = InMemoryChannelLayer(), []
    mailbox = layer.open_mailbox("a", lambda: woken.append(1))
    for n in range(3):
        await layer.send("a", message(n))
    assert len(woken) == 1
    assert take_all(mailbox) == [0, 1, 2]
    await layer.send("a", message(3))
    assert len(woken) == 2


async def test_a_consumer_that_comes_late_is_woken_for_what_waits():
    layer, woken = InMemoryChannelLayer(), []
    await layer.send("a", message(5))
    mailbox = layer.open_mailbox("a", lambda: woken.append(1))
    assert woken == [1]
    assert take_all(mailbox) == [5]


async def test_another_thread_wakes_on_the_consumers_loop():
    layer, woken = InMemoryChannelLayer(), []
    mailbox = layer.open_mailbox("a", lambda: woken.append(threading.get_ident()))
    thread = in_thread(asyncio.run, layer.send("a", message(1)))
    await until(lambda: woken)
    thread.join()
    assert woken == [threading.get_ident()]
    assert take_all(mailbox) == [1]


async def test_a_message_that_comes_while_a_consumer_is_being_attached_is_not_lost(monkeypatch):
    """Neither half of it is seen: no consumer without an event loop, which would be a dead one."""
    layer, threads = InMemoryChannelLayer(), []

    class Asyncio:
        def __getattr__(self, name):
            if name == "get_running_loop":
                threads.append(in_thread(asyncio.run, layer.send("a", message(1))))
                threads[0].join(0.1)  # in vain, if the lock is held
                monkeypatch.undo()
            return getattr(asyncio, name)

    monkeypatch.setattr("channels.layers.mailbox.asyncio", Asyncio())
    mailbox = layer.open_mailbox("a", lambda: None)
    (thread,) = threads
    await asyncio.to_thread(thread.join)
    assert mailbox.take() == message(1)
    assert layer.statistics.dropped == {}


async def test_no_message_falls_between_threads_and_a_consumer_that_starts_and_stops(restless):
    """Each message is taken, or counted as dropped, while mailboxes come and go."""
    layer = InMemoryChannelLayer(capacity=10_000)
    taken, done = [], threading.Event()

    async def send_all():
        for n in range(2000):
            await layer.send("a", message(n))
        done.set()

    thread = in_thread(asyncio.run, send_all())
    while not done.is_set():
        mailbox = layer.open_mailbox("a", lambda: None)
        await asyncio.sleep(0)
        taken += take_all(mailbox)
        await mailbox.close()
    thread.join()
    assert taken == sorted(set(taken))
    assert layer.statistics.sent == 2000
    assert layer.statistics.delivered == len(taken)
    assert balanced(layer)
    # A mailbox that is being opened is not taken for that of a dead event loop: what was dropped
    # was dropped by close().
    assert set(layer.statistics.dropped) <= {CLOSED}


async def test_a_handler_may_receive_from_its_own_channel():
    """``channel_receive`` works while the consumer, busy in that very handler, takes nothing."""
    layer = InMemoryChannelLayer()
    mailbox = layer.open_mailbox("a", lambda: None)
    own = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    await layer.send("a", message(1))
    await layer.send("a", message(2))
    assert await soon(own) == message(1)
    assert take_all(mailbox) == [2]
    await mailbox.close()


async def test_a_consumer_of_a_closed_loop_is_dead(drops):
    layer = InMemoryChannelLayer()

    async def leave_behind():
        layer.open_mailbox("dead", lambda: None)
        await layer.send("dead", message(0))
        await layer.group_add("group", "dead")

    await asyncio.to_thread(asyncio.run, leave_behind())
    await layer.group_send("group", message(1))
    assert drops == [("dead", CLOSED, 1), ("dead", CLOSED, 1)]
    assert layer.groups == {}
    assert holds_nothing(layer)
    assert balanced(layer)


async def test_what_is_sent_to_a_consumer_of_a_closed_loop_is_counted(drops):
    layer = InMemoryChannelLayer()

    async def leave_behind():
        layer.open_mailbox("dead", lambda: None)

    await asyncio.to_thread(asyncio.run, leave_behind())
    await layer.send("dead", message(0))
    assert drops == [("dead", CLOSED, 1)]
    assert balanced(layer)


# Undecodable


async def test_a_message_that_cannot_be_unpacked_is_dropped_and_kills_nothing(drops):
    layer = InMemoryChannelLayer()
    await layer.send("a", {"type": "x", "value": OnlyOnce()})
    await layer.send("a", message(2))
    assert await soon(layer.receive("a")) == message(2)
    assert drops == [("a", UNDECODABLE, 1)]
    assert layer.statistics.delivered == 1
    assert balanced(layer)


# Waiting in line


async def test_receivers_are_served_in_the_order_they_came():
    layer = InMemoryChannelLayer()
    receivers = [asyncio.create_task(layer.receive("a")) for _ in range(3)]
    await waiting(layer, "a", 3)
    for n in range(3):
        await layer.send("a", message(n))
    assert [(await soon(task))["n"] for task in receivers] == [0, 1, 2]
    assert holds_nothing(layer)


@pytest.mark.parametrize("turns", range(6))
async def test_a_receive_cancelled_at_any_point_loses_nothing(turns):
    """Either it returns the message or the next receiver gets it."""
    layer = InMemoryChannelLayer()
    receiver = asyncio.create_task(layer.receive("a"))
    for turn in range(6):
        if turn == turns:
            receiver.cancel()
        if turn == 2:
            await layer.send("a", message(1))
        await asyncio.sleep(0)
    (result,) = await asyncio.gather(receiver, return_exceptions=True)
    if isinstance(result, BaseException):
        result = await soon(layer.receive("a"))
    assert result == message(1)
    assert layer.statistics.delivered == 1
    assert balanced(layer)
    assert holds_nothing(layer)


@pytest.mark.parametrize("when", ["before", "after"])
async def test_a_call_to_a_receiver_that_gave_up_goes_to_the_next_in_line(when):
    layer = InMemoryChannelLayer()
    first = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    second = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a", 2)
    if when == "before":
        first.cancel()
    await layer.send("a", message(1))
    if when == "after":
        first.cancel()
    assert await soon(second) == message(1)
    with pytest.raises(asyncio.CancelledError):
        await first


async def test_a_call_from_another_thread_to_a_receiver_that_gave_up_goes_to_the_next_in_line():
    """The call is under way when the first in line gives up."""
    layer, errors = InMemoryChannelLayer(), []
    asyncio.get_running_loop().set_exception_handler(lambda _, context: errors.append(context))
    first = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    second = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a", 2)
    in_thread(asyncio.run, layer.send("a", message(1))).join()  # this loop stands still meanwhile
    first.cancel()
    assert await soon(second) == message(1)
    with pytest.raises(asyncio.CancelledError):
        await first
    assert errors == []


async def test_a_call_lost_with_its_loop_goes_to_the_next_in_line():
    """The first in line waits on another loop, which ends just as it is called."""
    layer = InMemoryChannelLayer()
    ready, called = threading.Event(), threading.Event()

    async def wait_and_leave():
        task = asyncio.create_task(layer.receive("a"))
        await waiting(layer, "a")
        ready.set()
        called.wait(5)  # blocks this loop: the call comes, and cannot be heard
        assert task in asyncio.all_tasks()

    thread = in_thread(asyncio.run, wait_and_leave())
    await asyncio.to_thread(ready.wait, 5)
    second = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a", 2)
    await layer.send("a", message(1))
    called.set()
    assert await soon(second) == message(1)
    await asyncio.to_thread(thread.join)
    assert holds_nothing(layer)


def test_an_abandoned_receiver_may_be_collected_while_the_lock_is_held():
    """A loop closed without ending its tasks leaves them to the garbage collector."""
    layer = InMemoryChannelLayer()
    coroutine = layer.receive("a")
    loop = asyncio.new_event_loop()
    try:
        loop.run_until_complete(_start(coroutine))
    finally:
        loop.close()

    def collect():
        with layer.lock:
            coroutine.close()  # what the collector does

    thread = threading.Thread(target=collect, daemon=True)  # or its hanging would hang the tests
    thread.start()
    thread.join(5)
    assert not thread.is_alive()
    assert holds_nothing(layer)


async def test_a_receiver_whose_loop_was_closed_is_passed_over():
    layer = InMemoryChannelLayer()
    abandoned = layer.receive("a")

    def wait_and_close():
        loop = asyncio.new_event_loop()
        loop.run_until_complete(_start(abandoned))
        loop.close()

    await asyncio.to_thread(wait_and_close)
    second = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a", 2)
    await layer.send("a", message(1))
    assert await soon(second) == message(1)
    abandoned.close()


async def test_a_receiver_that_gives_up_when_another_has_its_message_calls_nobody():
    layer = InMemoryChannelLayer()
    mailbox = layer.open_mailbox("a", lambda: None)
    first = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    await layer.send("a", message(1))
    assert mailbox.take() == message(1)
    first.cancel()
    with pytest.raises(asyncio.CancelledError):
        await first
    await layer.send("a", message(2))
    assert mailbox.take() == message(2)
    assert balanced(layer)


async def _start(coroutine):
    """Run ``coroutine`` up to where it waits."""
    coroutine.send(None)


async def test_receivers_that_wait_outlive_a_consumer_of_the_same_channel():
    layer = InMemoryChannelLayer()
    mailbox = layer.open_mailbox("a", lambda: None)
    receiver = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    await mailbox.close()
    await layer.send("a", message(1))
    assert await soon(receiver) == message(1)
    assert holds_nothing(layer)


async def test_a_receiver_that_finds_only_expired_messages_goes_on_waiting(clock, drops):
    layer = InMemoryChannelLayer(expiry=60)
    await layer.send("a", message(0))
    clock.advance(61)
    receiver = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    assert drops == [("a", EXPIRED, 1)]
    await layer.send("a", message(1))
    assert await soon(receiver) == message(1)


# Gaps


async def test_a_consumer_is_told_of_a_gap_once_and_before_anything_else():
    layer, woken = InMemoryChannelLayer(), []
    mailbox = layer.open_mailbox("a", lambda: woken.append(1))
    await layer.send("a", message(1))
    woken.clear()
    in_thread(mailbox.announce_gap, "the broker was away").join()
    mailbox.announce_gap("and again")
    await until(lambda: woken)
    assert mailbox.take() == {"type": "layer.gap", "reason": "the broker was away"}
    assert mailbox.take() == message(1)
    assert mailbox.take() is None
    assert balanced(layer)


async def test_nobody_is_told_of_a_gap_where_no_consumer_is():
    layer = InMemoryChannelLayer()
    await layer.send("a", message(1))
    layer.channels["a"].announce_gap("the broker was away")
    assert await soon(layer.receive("a")) == message(1)


async def lose(layer, count):
    """Send so many messages to a group, to which no number of theirs matters."""
    for _ in range(count):
        await layer.group_send("group", message(-1))


@pytest.fixture
async def full():
    """A consumer whose mailbox holds 0, 1 and 2, and the layer."""
    layer = InMemoryChannelLayer(capacity=3)
    await layer.group_add("group", "a")
    mailbox = layer.open_mailbox("a", lambda: None)
    for n in range(3):
        await layer.group_send("group", message(n))
    return mailbox, layer


async def test_a_consumer_is_told_of_lost_messages_where_they_were_lost(full):
    mailbox, layer = full
    await lose(layer, 5)
    assert mailbox.take() == message(0)
    await layer.group_send("group", message(3))
    await lose(layer, 5)
    assert take_all(mailbox) == [1, 2, "gap", 3], "it is told of all at once"
    await layer.group_send("group", message(4))
    assert take_all(mailbox) == [4]
    assert balanced(layer)


async def test_a_consumer_that_never_catches_up_is_told_of_a_gap_once_a_second(full, clock):
    mailbox, layer = full
    told = []
    for n in range(300):
        await layer.group_send("group", message(n))
        told.append(mailbox.take()["type"] == GAP)
        await lose(layer, 1)
        clock.advance(0.1)
    assert 20 <= sum(told) <= 31
    assert balanced(layer)


async def test_the_news_of_an_outage_covers_what_was_lost_before(full):
    mailbox, layer = full
    await lose(layer, 2)
    mailbox.announce_gap("the broker was away")
    assert take_all(mailbox) == ["gap", 0, 1, 2]


async def test_what_expires_before_the_news_of_a_gap_brings_it_forward(clock):
    layer = InMemoryChannelLayer(capacity=3, expiry=10)
    await layer.group_add("group", "a")
    mailbox = layer.open_mailbox("a", lambda: None)
    for n in range(3):
        await layer.group_send("group", message(n))
        clock.advance(3)
    await lose(layer, 1)  # which is to be told after three messages
    clock.advance(2)
    assert take_all(mailbox) == ["gap", 1, 2]
    assert balanced(layer)


async def test_a_consumer_that_holds_nothing_is_woken_for_a_gap(clock):
    layer, woken = InMemoryChannelLayer(channel_capacity={"shut": 0}), []
    await layer.group_add("group", "shut")
    mailbox = layer.open_mailbox("shut", lambda: woken.append(1))
    await lose(layer, 1)
    await until(lambda: woken)
    assert take_all(mailbox) == ["gap"]


async def test_who_receives_from_a_channel_by_name_is_not_told_of_gaps(full):
    mailbox, layer = full
    await lose(layer, 1)
    for n in range(3):
        assert await soon(layer.receive("a")) == message(n)
    receiver = asyncio.create_task(layer.receive("a"))
    await waiting(layer, "a")
    await layer.group_send("group", message(3))
    assert await soon(receiver) == message(3)
    assert take_all(mailbox) == ["gap"], "the consumer is, though"


@pytest.mark.parametrize("attached", [True, False])
async def test_what_expires_unread_is_told(attached, clock):
    layer = InMemoryChannelLayer(expiry=60)
    for n in range(3):
        await layer.send("a", message(n))
        clock.advance(25)
    if attached:
        assert take_all(layer.open_mailbox("a", lambda: None)) == ["gap", 1, 2]
    else:
        assert await soon(layer.receive("a")) == message(1)

"""The in-memory layer: channels, groups, time, threads and event loops, and what it leaves."""

import asyncio
import gc
import os
import threading
import weakref

import pytest
from asgiref.sync import async_to_sync

from channels.exceptions import (
    ChannelFull,
    InvalidChannelLayerError,
    InvalidNameError,
    ScheduleFull,
    SerializationError,
)
from channels.layers import InMemoryChannelLayer, channel_layers, schedule
from channels.layers.statistics import CAPACITY, CLOSED, EXPIRED, UNDECODABLE
from channels.testing import WebsocketCommunicator

from .helpers import (
    balanced,
    count_calls,
    holds_nothing,
    in_thread,
    message,
    remembers,
    soon,
    until,
    waiting,
)

EXPIRY, GROUP_EXPIRY = 60, 86400


@pytest.fixture
def layer(clock):
    return InMemoryChannelLayer()


# The well-known interface


def test_defaults():
    layer = InMemoryChannelLayer()
    assert (layer.expiry, layer.group_expiry, layer.capacity) == (60, 86400, 100)
    assert layer.extensions == ["groups", "flush"]
    assert (layer.channels, layer.groups) == ({}, {})


def test_options_of_another_layer_are_let_pass():
    """Settings for tests change the BACKEND, and keep the CONFIG."""
    layer = InMemoryChannelLayer(capacity=5, hosts=[("localhost", 6379)], prefix="x")
    assert layer.capacity == 5


async def test_new_channels_differ_and_are_valid(layer):
    names = {await layer.new_channel() for _ in range(100)}
    assert len(names) == 100
    for name in names:
        assert name.startswith("specific.")
        assert layer.require_valid_channel_name(name)
    assert (await layer.new_channel("mine")).startswith("mine")
    assert holds_nothing(layer)


async def test_channels_shows_that_of_a_connected_consumer_even_if_it_is_empty(layer):
    from channels.generic.websocket import AsyncWebsocketConsumer, WebsocketConsumer

    class Sync(WebsocketConsumer):
        def say(self, event):
            self.send(event["text"])

    class Async(AsyncWebsocketConsumer):
        async def say(self, event):
            await self.send(event["text"])

    old = channel_layers.set("default", layer)
    try:
        for consumer_class in (Sync, Async):
            async with WebsocketCommunicator(consumer_class.as_asgi(), "/") as socket:
                name = list(layer.channels)[0]  # noqa: RUF015 - as projects' tests write it
                await layer.send(name, {"type": "say", "text": "hello"})
                assert await socket.receive_from() == "hello"
            assert layer.channels == {}
    finally:
        channel_layers.set("default", old)


async def test_channels_shows_those_that_somebody_waits_for(layer):
    receiver = asyncio.create_task(layer.receive("awaited"))
    await waiting(layer, "awaited")
    assert list(layer.channels) == ["awaited"]
    receiver.cancel()
    await asyncio.wait((receiver,))
    assert layer.channels == {}


@pytest.mark.parametrize("wrapped", ["_clean_expired", "_remove_from_groups"])
async def test_expiry_goes_through_the_methods_that_test_set_ups_wrap(
    layer, clock, monkeypatch, wrapped
):
    own, calls = getattr(InMemoryChannelLayer, wrapped), []

    def wrapper(self, *arguments):
        calls.append(arguments)
        return own(self, *arguments)

    monkeypatch.setattr(InMemoryChannelLayer, wrapped, wrapper)
    await layer.group_add("g", "gone")
    await layer.group_send("g", message())
    calls.clear()
    clock.advance(EXPIRY)
    await layer.group_send("g", message())
    assert calls == [() if wrapped == "_clean_expired" else ("gone",)]
    assert layer.groups == {}


async def test_a_test_set_up_can_turn_expiry_off(layer, clock, monkeypatch):
    monkeypatch.setattr(InMemoryChannelLayer, "_clean_expired", lambda self: None)
    await layer.group_add("g", "a")
    clock.advance(GROUP_EXPIRY)
    await layer.group_send("g", message(1))
    assert await soon(layer.receive("a")) == message(1)


async def test_channels_shows_those_with_undelivered_messages(layer):
    await layer.send("a", message())
    await layer.send("a", message())
    await layer.send("b", message())
    assert {name: box.qsize() for name, box in layer.channels.items()} == {"a": 2, "b": 1}
    await layer.receive("b")
    assert set(layer.channels) == {"a"}
    assert not layer.channels["a"].empty()


async def test_groups_shows_members_and_when_they_joined(layer, clock):
    await layer.group_add("g", "a")
    joined = clock.time()
    clock.advance(10)
    await layer.group_add("g", "b")
    await layer.group_add("h", "b")
    assert layer.groups == {"g": {"a": joined, "b": joined + 10}, "h": {"b": joined + 10}}
    await layer.group_discard("g", "a")
    await layer.group_discard("g", "a")
    await layer.group_discard("never", "was")
    assert layer.groups == {"g": {"b": joined + 10}, "h": {"b": joined + 10}}


async def test_a_test_that_clears_the_groups_leaves_nothing_half_known(layer):
    await layer.group_add("g", "a")
    layer.groups.clear()
    await layer.group_discard("g", "a")
    assert holds_nothing(layer)
    await layer.group_add("g", "a")
    assert set(layer.groups["g"]) == {"a"}


@pytest.mark.parametrize(
    "name", ["", "a b", "a" * 100, "line\n", "\u0661", None, 5, b"a", ["a"], {}]
)
async def test_invalid_names_are_refused_by_every_method(layer, name):
    await layer.group_add("known", "known")
    for kind, call in [
        ("Channel", layer.send(name, message())),
        ("Channel", layer.receive(name)),
        ("Channel", layer.group_add("g", name)),
        ("Channel", layer.group_discard("g", name)),
        ("Group", layer.group_add(name, "a")),
        ("Group", layer.group_discard(name, "a")),
        ("Group", layer.group_send(name, message())),
    ]:
        with pytest.raises(TypeError, match=f"{kind} name must be a valid unicode string"):
            await call
    assert set(layer.groups) == {"known"}
    assert layer.channels == {}


async def test_a_recipient_that_changes_its_message_changes_nobody_elses(layer):
    sent = {"type": "x", "flat": 1, "list": [1]}
    for channel in ("a", "b"):
        await layer.group_add("g", channel)
    await layer.group_send("g", sent)
    sent["list"].append(2)
    first = await layer.receive("a")
    first["list"].append(3)
    first["flat"] = 2
    assert await layer.receive("b") == {"type": "x", "flat": 1, "list": [1]}


async def test_a_group_without_members_swallows_messages(layer):
    await layer.group_send("nobody", message())
    assert layer.statistics.sent == 0
    assert holds_nothing(layer)
    with pytest.raises(TypeError, match="must be a dict"):
        await layer.group_send("nobody", "not a dict")


async def test_a_channel_that_joined_twice_gets_a_message_once(layer):
    await layer.group_add("g", "a")
    await layer.group_add("g", "a")
    await layer.group_send("g", message())
    assert layer.channels["a"].qsize() == 1


async def test_flush_forgets_messages_and_groups_but_not_consumers(layer, drops):
    consumer = layer.open_mailbox("consumer", lambda: None)
    await layer.group_add("g", "consumer")
    await layer.group_add("g", "plain")
    receiver = asyncio.create_task(layer.receive("waiting"))
    await waiting(layer, "waiting")
    await layer.group_send("g", message())
    await layer.send("waiting", message(1))
    await layer.flush()
    assert {name: box.qsize() for name, box in layer.channels.items()} == {
        "consumer": 0,
        "waiting": 0,
    }
    assert layer.groups == {}
    assert layer.statistics.pending == 0
    assert balanced(layer)
    assert {(channel, reason) for channel, reason, _ in drops} >= {
        ("consumer", CLOSED),
        ("plain", CLOSED),
    }
    await layer.send("waiting", message(2))
    assert await soon(receiver) == message(2)
    await layer.send("consumer", message(3))
    assert consumer.take() == message(3)
    await consumer.close()
    assert holds_nothing(layer)


@pytest.mark.parametrize("name", ["close", "aclose"])
async def test_a_closed_layer_holds_nothing_and_can_be_used_again(layer, name):
    await layer.group_add("g", "a")
    await layer.group_send("g", message())
    await getattr(layer, name)()
    assert holds_nothing(layer)
    await layer.send("a", message(1))
    assert await soon(layer.receive("a")) == message(1)


# Consumers


async def test_a_consumers_end_takes_everything_with_it(layer, drops):
    mailbox = layer.open_mailbox("a", lambda: None)
    for group in ("g", "h"):
        await layer.group_add(group, "a")
        await layer.group_send(group, message())
    await mailbox.close()
    assert holds_nothing(layer)
    assert drops == [("a", CLOSED, 2)]
    await mailbox.close()  # twice does no harm
    assert drops == [("a", CLOSED, 2)]
    assert balanced(layer)


async def test_closing_an_old_mailbox_does_not_harm_a_newer_one(layer):
    old = layer.open_mailbox("a", lambda: None)
    await old.close()
    await layer.group_add("g", "a")
    await layer.send("a", message(1))
    await old.close()
    assert set(layer.groups["g"]) == {"a"}
    assert await soon(layer.receive("a")) == message(1)


async def test_memberships_of_a_consumer_do_not_end_while_it_is_connected(layer, clock):
    await layer.group_add("before", "a")
    mailbox = layer.open_mailbox("a", lambda: None)
    await layer.group_add("after", "a")
    await layer.group_add("after", "plain")
    clock.advance(GROUP_EXPIRY + 1)
    assert {group: set(members) for group, members in layer.groups.items()} == {
        "before": {"a"},
        "after": {"a"},
    }
    await mailbox.close()
    assert holds_nothing(layer)


async def test_a_consumer_that_reads_late_stays_in_its_groups(layer, clock):
    mailbox = layer.open_mailbox("a", lambda: None)
    await layer.group_add("g", "a")
    await layer.group_send("g", message(1))
    clock.advance(EXPIRY + 1)
    assert mailbox.take()["type"] == "layer.gap", "it has missed one"
    assert mailbox.take() is None
    assert set(layer.groups["g"]) == {"a"}
    await layer.group_send("g", message(2))
    assert mailbox.take() == message(2)


# Time


async def test_a_message_that_expires_unread_removes_its_channel_from_all_groups(
    layer, clock, drops
):
    for group in ("g", "h"):
        await layer.group_add(group, "gone")
        await layer.group_add(group, "fine")
    await layer.send("gone", message())
    clock.advance(EXPIRY)
    assert {group: set(members) for group, members in layer.groups.items()} == {
        "g": {"fine"},
        "h": {"fine"},
    }
    assert drops == [("gone", EXPIRED, 1)]


@pytest.mark.parametrize("operation", ["send", "receive", "group_add", "group_send"])
async def test_whatever_is_done_next_lets_go_of_what_expired(layer, clock, drops, operation):
    """Not only a look at ``groups``: work with the layer alone keeps it clean."""
    await layer.group_add("g", "gone")
    await layer.group_send("g", message())
    clock.advance(EXPIRY)
    if operation == "group_send":
        mailbox = layer.open_mailbox("fine", lambda: None)
        await layer.group_add("other", "fine")
        assert not remembers(layer, "gone")  # group_add has done it
        await mailbox.close()
    elif operation == "group_add":
        await layer.group_add("other", "fine")
    elif operation == "send":
        await layer.send("fine", message())
    else:
        receiver = asyncio.create_task(layer.receive("fine"))
        await waiting(layer, "fine")
        receiver.cancel()
    assert not remembers(layer, "gone")
    assert drops == [("gone", EXPIRED, 1)]


async def test_drops_are_told_also_when_the_operation_fails(layer, clock, drops):
    await layer.send("gone", message())
    clock.advance(EXPIRY)
    with pytest.raises(TypeError):
        await layer.send("bad name", message())
    await layer.group_add("g", "a")
    assert drops == [("gone", EXPIRED, 1)]


async def test_many_abandoned_channels_expire_with_the_next_operation(layer, clock):
    """A group send reaches any number of members at once, and so must their expiry."""
    for n in range(1000):
        await layer.group_add("g", f"gone.{n}")
    await layer.group_send("g", message())
    assert len(layer.channels) == 1000
    clock.advance(EXPIRY)
    await layer.group_send("g", message())
    assert holds_nothing(layer)
    assert layer.statistics.dropped == {EXPIRED: 1000}
    assert balanced(layer)


async def test_expired_messages_make_room_however_many_channels_there_are(clock):
    layer = InMemoryChannelLayer(capacity=1)
    for n in range(50):
        await layer.send(f"channel.{n}", message())
    clock.advance(EXPIRY)
    for n in reversed(range(50)):
        await layer.send(f"channel.{n}", message())
    assert layer.statistics.dropped == {EXPIRED: 50}
    assert layer.statistics.pending == 50


async def test_a_channel_in_use_is_not_taken_for_abandoned(layer, clock):
    """Messages come and go for hours; none waits as long as the expiry."""
    await layer.group_add("g", "worker")
    for n in range(1000):
        await layer.group_send("g", message(n))
        clock.advance(EXPIRY / 3)
        if n:
            assert (await layer.receive("worker"))["n"] == n - 1
    assert set(layer.groups["g"]) == {"worker"}
    assert layer.statistics.dropped == {}


async def test_membership_without_a_consumer_ends_and_can_be_renewed(layer, clock):
    await layer.group_add("g", "a")
    await layer.group_add("g", "b")
    clock.advance(GROUP_EXPIRY / 2)
    await layer.group_add("g", "a")
    clock.advance(GROUP_EXPIRY / 2)
    await layer.group_send("g", message())
    assert set(layer.channels) == {"a"}
    clock.advance(GROUP_EXPIRY / 2)
    assert holds_nothing(layer) or layer.groups == {}
    await layer.flush()
    assert holds_nothing(layer)


@pytest.mark.parametrize("expiry", [0, -1])
async def test_an_expiry_of_nothing_drops_at_once_and_hangs_nothing(clock, expiry):
    layer = InMemoryChannelLayer(expiry=expiry)
    receiver = asyncio.create_task(layer.receive("waiting"))
    await waiting(layer, "waiting")
    await layer.send("a", message())
    await layer.send("b", message())
    assert set(layer.channels) == {"waiting"}
    receiver.cancel()
    assert layer.statistics.dropped == {EXPIRED: 2}


# Nothing stays behind


async def test_ten_thousand_channels_that_vanish_leave_nothing(layer, clock):
    for n in range(10_000):
        channel = await layer.new_channel()
        mailbox = layer.open_mailbox(channel, lambda: None)
        await layer.group_add("everybody", channel)
        await layer.group_add(f"own.{n}", channel)
        if n % 3 == 0:
            await layer.send(channel, message())
        await mailbox.close()
    assert holds_nothing(layer)
    assert balanced(layer)


async def test_ten_thousand_channels_nobody_ever_read_leave_nothing(layer, clock):
    for n in range(10_000):
        await layer.group_add("everybody", f"a.{n}")
        await layer.send(f"b.{n}", message())
    clock.advance(GROUP_EXPIRY)
    await layer.group_add("last", "one")
    assert layer.groups.keys() == {"last"}
    await layer.group_discard("last", "one")
    assert holds_nothing(layer)
    assert layer.statistics.dropped == {EXPIRED: 10_000}


async def test_delivered_messages_are_not_kept_alive(layer):
    class Payload:
        def __deepcopy__(self, memo):
            return self

    payload = Payload()
    reference = weakref.ref(payload)
    await layer.send("a", {"type": "x", "payload": payload})
    await layer.receive("a")
    del payload
    gc.collect()
    assert reference() is None


# Cost


@pytest.mark.parametrize("operation", ["send", "receive", "group_add", "group_send", "discard"])
async def test_the_work_of_an_operation_does_not_grow_with_channels_and_groups(operation):
    """Counted in function calls, with 10 and with 3,000 other channels and groups."""
    counts = []
    for size in (10, 3000):
        layer = InMemoryChannelLayer()
        for n in range(size):
            await layer.group_add(f"group.{n}", f"channel.{n}")
            await layer.group_add("crowd", f"channel.{n}")
            await layer.send(f"channel.{n}", message())
            layer.open_mailbox(f"consumer.{n}", lambda: None)
        await layer.group_add("few", "one")
        await layer.send("one", message())
        calls = {
            "send": (layer.send, "one", message()),
            "receive": (layer.receive, "one"),
            "group_add": (layer.group_add, "few", "two"),
            "group_send": (layer.group_send, "few", message()),
            "discard": (layer.group_discard, "crowd", "channel.5"),
        }
        counts.append(await count_calls(*calls[operation]))
    few, many = counts
    assert many == few


async def test_a_consumers_end_costs_what_it_joined_not_what_there_is():
    counts = []
    for size in (10, 3000):
        layer = InMemoryChannelLayer()
        for n in range(size):
            await layer.group_add("crowd", f"channel.{n}")
            await layer.group_add(f"group.{n}", f"channel.{n}")
        mailbox = layer.open_mailbox("consumer", lambda: None)
        await layer.group_add("crowd", "consumer")
        counts.append(await count_calls(mailbox.close))
    few, many = counts
    assert many == few


async def test_a_group_send_makes_no_task_per_member():
    layer = InMemoryChannelLayer()
    woken = []
    for n in range(500):
        layer.open_mailbox(f"consumer.{n}", lambda: woken.append(1))
        await layer.group_add("g", f"consumer.{n}")
    before = asyncio.all_tasks()
    await layer.group_send("g", message())
    assert asyncio.all_tasks() == before
    assert len(woken) == 500


# Threads and event loops


async def test_threads_and_loops_at_once_lose_and_repeat_nothing(restless):
    """Four receivers on loops of their own, four senders in threads, one channel each way."""
    layer = InMemoryChannelLayer(capacity=100_000)
    per_sender, senders, receivers = 250, 4, 4
    got = [[] for _ in range(receivers)]

    async def receive_all(own):
        while True:
            received = await layer.receive("shared")
            if received["n"] is None:
                return
            own.append(tuple(received["n"]))

    def send_all(sender):
        for n in range(per_sender):
            async_to_sync(layer.send)("shared", message([sender, n]))

    reading = [in_thread(asyncio.run, receive_all(own)) for own in got]
    writing = [in_thread(send_all, sender) for sender in range(senders)]
    for thread in writing:
        await asyncio.to_thread(thread.join)
    for _ in range(receivers):
        await layer.send("shared", message(None))
    for thread in reading:
        await asyncio.to_thread(thread.join, 10)
        assert not thread.is_alive()
    everything = [item for own in got for item in own]
    assert len(everything) == per_sender * senders
    assert len(set(everything)) == len(everything)
    for own in got:  # from one sender to one receiver, in order
        for sender in range(senders):
            mine = [n for who, n in own if who == sender]
            assert mine == sorted(mine)
    assert balanced(layer)
    assert holds_nothing(layer)


async def test_a_send_between_a_receivers_look_and_its_wait_is_not_missed():
    """The thread sends at the one moment that matters: the queue was empty, the wait is to come."""
    layer = InMemoryChannelLayer()
    loop = asyncio.get_running_loop()
    create_future = loop.create_future

    def create_future_late():
        loop.create_future = create_future
        in_thread(asyncio.run, layer.send("a", message(1))).join()
        return create_future()

    receiver = loop.create_task(layer.receive("a"))
    loop.create_future = create_future_late
    await asyncio.sleep(0)
    assert loop.create_future == create_future
    assert receiver.done()
    assert receiver.result() == message(1)


async def test_a_send_just_as_a_receiver_is_about_to_wait_is_not_missed(restless):
    """Over and over, a thread sends at whatever point of ``receive`` it happens to meet."""
    layer = InMemoryChannelLayer(capacity=10_000)
    rounds = 500
    go = threading.Semaphore(0)

    async def send_each():
        for n in range(rounds):
            await asyncio.to_thread(go.acquire)
            await layer.send("a", message(n))

    thread = in_thread(asyncio.run, send_each())
    async with asyncio.timeout(10):
        for n in range(rounds):
            go.release()
            assert (await layer.receive("a"))["n"] == n
    await asyncio.to_thread(thread.join)
    assert holds_nothing(layer)


def test_one_layer_on_event_loops_one_after_another():
    layer = InMemoryChannelLayer()

    async def put(n):
        await layer.group_add("g", "a")
        await layer.group_send("g", message(n))

    async def get():
        return (await soon(layer.receive("a")))["n"]

    async def give_up():
        left_behind = asyncio.create_task(layer.receive("b"))
        await waiting(layer, "b")
        assert not left_behind.done()

    for n in range(3):
        asyncio.run(put(n))
        asyncio.run(give_up())
        assert asyncio.run(get()) == n
    assert layer.channels == {}


async def test_members_join_and_leave_from_threads_while_messages_are_sent(restless):
    layer = InMemoryChannelLayer(capacity=5)
    stop = threading.Event()

    async def come_and_go(who):
        n = 0
        while not stop.is_set():
            channel = f"{who}.{n}"
            mailbox = layer.open_mailbox(channel, lambda: None)
            await layer.group_add("g", channel)
            await asyncio.sleep(0)
            mailbox.take()
            await mailbox.close()
            n += 1

    threads = [in_thread(asyncio.run, come_and_go(who)) for who in ("a", "b")]
    try:
        for n in range(500):
            await layer.group_send("g", message(n))
            if n % 50 == 0:
                assert isinstance(layer.channels, dict)
                assert layer.statistics.pending >= 0
                await asyncio.sleep(0)
    finally:
        stop.set()
        for thread in threads:
            await asyncio.to_thread(thread.join)
    assert balanced(layer)
    assert holds_nothing(layer)


async def test_channel_full_says_which_and_how_many():
    layer = InMemoryChannelLayer(channel_capacity={"small*": 1})
    await layer.send("small.one", message())
    with pytest.raises(ChannelFull, match=r"Channel small\.one holds 1 messages"):
        await layer.send("small.one", message())
    await layer.send("other", message())
    await layer.send("other", message())


@pytest.mark.skipif(not hasattr(os, "fork"), reason="the system does not fork")
def test_a_forked_child_does_not_wait_for_a_lock_of_its_parents(layer):
    with layer.lock:  # held by a thread that the child does not have
        child = os.fork()
        if child == 0:
            done = threading.Thread(target=lambda: (layer.count_pending(), os._exit(0)))
            done.start()
            done.join(5)
            os._exit(1)
    assert os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]) == 0


# Later, and again and again


class TestDelayed:
    """In real time. What every layer promises is in the conformance suite."""

    async def test_sync_code_in_any_thread_schedules(self):
        layer = InMemoryChannelLayer()
        sent = []

        def schedule():
            send = async_to_sync(layer.send_later)
            sent.append(send("a", message(1), delay=0.02))
            async_to_sync(layer.group_send_every)(0.1, "group", message(2), name="clock")

        await asyncio.to_thread(schedule)
        await layer.group_add("group", "b")
        assert await soon(layer.receive("a")) == message(1)
        assert await soon(layer.receive("b")) == message(2)
        assert not await layer.cancel_later(sent[0])
        await layer.aclose()

    async def test_a_full_queue_is_tried_until_the_message_has_waited_for_too_long(
        self, drops, monkeypatch
    ):
        monkeypatch.setattr(schedule, "RETRY", 0.02)
        layer = InMemoryChannelLayer(capacity=1)
        await layer.send("jobs", message(1))
        await layer.send_later("jobs", message(2), delay=0)
        await until(lambda: layer._schedule._heap and layer._schedule._heap[0][2].tried)
        assert await soon(layer.receive("jobs")) == message(1)
        assert await soon(layer.receive("jobs")) == message(2)
        assert not drops

        short = InMemoryChannelLayer(capacity=1, expiry=0.1, channel_capacity={"never": 0})
        await short.send_later("never", message(3), delay=0)
        await until(lambda: drops)
        assert drops == [("never", CAPACITY, 1)]
        assert balanced(short)
        assert len(short._schedule) == 0

    async def test_a_full_consumer_loses_it_and_that_is_counted(self, drops):
        layer = InMemoryChannelLayer(capacity=1)
        channel = await layer.new_channel()
        await layer.send(channel, message(1))
        await layer.send_later(channel, message(2), delay=0)
        await until(lambda: drops)
        assert drops == [(channel, CAPACITY, 1)]
        assert balanced(layer)

    async def test_a_subclass_that_cannot_send_is_told_of_in_the_log(self, drops, caplog):
        class Broken(InMemoryChannelLayer):
            async def send(self, channel, message):
                raise OSError("no way")

        layer = Broken()
        await layer.send_later("a", message(1), delay=0)
        await until(lambda: drops)
        assert drops == [("a", UNDECODABLE, 1)]
        assert "The message that was due for a was not sent" in caplog.text
        assert "no way" in caplog.text

    async def test_names_and_messages_are_refused_when_they_are_scheduled(self):
        layer = InMemoryChannelLayer()
        for name in ("", "two words", None):
            for refused in (
                layer.send_later(name, message(), delay=1),
                layer.group_send_later(name, message(), delay=1),
                layer.send_every(1, name, message(), name="clock"),
                layer.group_send_every(1, name, message(), name="clock"),
                layer.send_every(1, "a", message(), name=name),
                layer.cancel_every(name),
            ):
                with pytest.raises(InvalidNameError):
                    await refused
        for refused in (
            layer.send_later("a", {"x": "\ud800"}, delay=1),
            layer.group_send_every(1, "a", ["x"], name="clock"),
        ):
            with pytest.raises(SerializationError):
                await refused
        with pytest.raises(InvalidChannelLayerError):
            InMemoryChannelLayer(schedule_capacity="many")

    async def test_flush_and_the_bound(self):
        layer = InMemoryChannelLayer(schedule_capacity=1)
        handle = await layer.send_later("a", message(), delay=60)
        with pytest.raises(ScheduleFull):
            await layer.send_every(60, "a", message(), name="clock")
        await layer.flush()
        assert not await layer.cancel_later(handle)
        await layer.send_every(60, "a", message(), name="clock")
        await layer.aclose()
        assert not await layer.cancel_every("clock")

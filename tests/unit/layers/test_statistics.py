"""Counts, signals and log lines about what was lost."""

import asyncio
import logging
import threading
from collections import deque

import pytest

from channels import signals
from channels.layers import InMemoryChannelLayer, statistics
from channels.layers.statistics import CAPACITY, CLOSED, EXPIRED, LOG_INTERVAL
from tests.asgi import until

from .helpers import in_thread, message


def warnings_of(caplog):
    return [record.getMessage() for record in caplog.records if record.levelno >= logging.WARNING]


@pytest.fixture
def layer(clock):
    return InMemoryChannelLayer(capacity=1)


def test_a_new_layer_has_done_nothing(layer):
    assert repr(layer.statistics) == "<Statistics sent=0 delivered=0 pending=0 dropped={}>"


def test_what_another_thread_has_just_reported_is_not_reported_again(layer, drops):
    class TakenMeanwhile(deque):
        def popleft(self):
            self.clear()
            return super().popleft()

    layer.statistics.unreported = TakenMeanwhile([(CAPACITY, "a", 1)])
    layer.statistics.report()
    assert drops == []


def test_every_count_is_reported_once_and_in_order(layer, drops):
    statistics = layer.statistics
    statistics.count(CAPACITY, "a")
    statistics.count(EXPIRED, "b", 3)
    statistics.count(CAPACITY, "c", 2)
    assert drops == []
    statistics.report()
    statistics.report()
    assert drops == [("a", CAPACITY, 1), ("b", EXPIRED, 3), ("c", CAPACITY, 2)]
    assert statistics.dropped == {CAPACITY: 3, EXPIRED: 3}


def test_the_sender_of_the_signal_is_the_layer_class():
    heard = []

    class OtherLayer(InMemoryChannelLayer):
        pass

    def hear(sender, layer, **kwargs):
        heard.append((sender, layer))

    signals.message_dropped.connect(hear, sender=OtherLayer)
    try:
        for layer in (OtherLayer(), InMemoryChannelLayer()):
            layer.statistics.count(CAPACITY, "a")
            layer.statistics.report()
    finally:
        signals.message_dropped.disconnect(hear, sender=OtherLayer)
    ((sender, layer),) = heard
    assert sender is OtherLayer
    assert type(layer) is OtherLayer


async def test_the_log_gets_a_line_at_once_and_then_one_per_interval(layer, clock, caplog):
    await layer.group_add("group", "full")
    await layer.group_send("group", message())
    for _ in range(50):
        await layer.group_send("group", message())
    (line,) = warnings_of(caplog)
    assert (
        line == "InMemoryChannelLayer dropped 1 messages (capacity), the last one to full; 1 so far"
    )
    clock.advance(LOG_INTERVAL)
    await layer.group_send("group", message())
    await layer.group_send("group", message())
    assert warnings_of(caplog)[1:] == [
        "InMemoryChannelLayer dropped 50 messages (capacity), the last one to full; 51 so far"
    ]


async def test_the_rest_of_a_burst_is_told_when_no_other_drop_follows(monkeypatch, caplog):
    monkeypatch.setattr(statistics, "LOG_INTERVAL", 0.05)
    layer = InMemoryChannelLayer(capacity=1)
    await layer.group_add("group", "full")
    for _ in range(1002):
        await layer.group_send("group", message())
    # One line for the rest, or more if the burst took longer than an interval.
    await until(lambda: warnings_of(caplog)[-1].endswith("the last one to full; 1001 so far"))
    told = [int(line.split()[2]) for line in warnings_of(caplog)]
    assert told[0] == 1
    assert sum(told) == 1001
    lines = len(warnings_of(caplog))
    await asyncio.sleep(0.1)
    assert len(warnings_of(caplog)) == lines


async def test_each_reason_has_its_own_line(layer, clock, caplog):
    layer.statistics.count(CAPACITY, "a")
    layer.statistics.count(EXPIRED, "a")
    layer.statistics.report()
    assert [CAPACITY in warnings_of(caplog)[0], EXPIRED in warnings_of(caplog)[1]] == [True, True]


async def test_what_a_consumer_leaves_behind_is_no_warning(layer, caplog, drops):
    caplog.set_level(logging.DEBUG, "channels.layers")
    mailbox = layer.open_mailbox("consumer", lambda: None)
    await layer.send("consumer", message())
    await mailbox.close()
    assert drops == [("consumer", CLOSED, 1)]
    assert warnings_of(caplog) == []
    assert "Dropped 1 messages to consumer: closed" in caplog.text


async def test_listeners_are_called_without_the_lock(layer, drops):
    """A listener may look at the layer, also from a thread that it waits for."""
    seen = []

    def look(layer, **kwargs):
        thread = in_thread(lambda: seen.append(layer.statistics.pending))
        thread.join(5)

    await layer.group_add("group", "full")
    signals.message_dropped.connect(look)
    try:
        await layer.group_send("group", message())
        await layer.group_send("group", message())
    finally:
        signals.message_dropped.disconnect(look)
    assert seen == [1]


async def test_a_listener_that_raises_disturbs_nobody(layer, drops, caplog):
    def fail(**kwargs):
        raise ValueError("a broken listener")

    signals.message_dropped.connect(fail)
    try:
        await layer.group_add("group", "full")
        await layer.group_send("group", message())
        await layer.group_send("group", message())
    finally:
        signals.message_dropped.disconnect(fail)
    assert layer.statistics.dropped == {CAPACITY: 1}
    assert drops == [("full", CAPACITY, 1)]


def test_drops_counted_by_many_threads_are_all_told(layer, drops):
    start = threading.Barrier(4)

    def lose():
        start.wait(5)
        for _ in range(200):
            with layer.lock:
                layer.statistics.count(CAPACITY, "a")
            layer.statistics.report()

    threads = [in_thread(lose) for _ in range(4)]
    for thread in threads:
        thread.join()
    layer.statistics.report()
    assert layer.statistics.dropped == {CAPACITY: 800}
    assert sum(count for _, _, count in drops) == 800

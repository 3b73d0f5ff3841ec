"""What connections do is counted exactly, and clients cannot make the count grow without bound."""

import threading

import pytest

from channels import signals
from channels._runtime import tallies
from channels._runtime.tallies import BUCKETS, OTHER, Latency, Tally, fold, size_of, tally_of


class Consumer:
    pass


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(tallies, "counting", False)
    monkeypatch.setattr(tallies, "tallies", {})
    assert tally_of(Consumer()) is None
    tallies.start()
    assert tallies.counting
    yield
    signals.event_loop_lagged.disconnect(dispatch_uid="channels.tallies")


def test_a_duration_counts_up_to_the_bound_that_it_does_not_exceed():
    latency = Latency()
    for seconds in (0, BUCKETS[0], BUCKETS[0] * 1.01, BUCKETS[-1] + 1):
        latency.observe(seconds)
    assert latency.counts[:2] == [2, 1]
    assert latency.counts[-1] == 1
    assert latency.seconds == pytest.approx(BUCKETS[0] * 2.01 + BUCKETS[-1] + 1)


def test_the_connections_of_one_class_on_one_thread_share_a_tally(counting):
    mine = tally_of(Consumer())
    assert tally_of(Consumer()) is mine
    others = []
    thread = threading.Thread(target=lambda: others.append(tally_of(Consumer())))
    thread.start()
    thread.join()
    assert others[0] is not mine
    assert {name for name, _ in tallies.tallies} == {f"{__name__}.Consumer"}


def test_classes_beyond_those_told_apart_count_together(counting, monkeypatch):
    monkeypatch.setattr(tallies, "_CLASSES", 1)
    first = tally_of(Consumer())
    more = [tally_of(type(f"Made{number}", (), {})()) for number in range(3)]
    assert tally_of(Consumer()) is first
    assert more[0] is more[1] is more[2] is tallies.tallies[OTHER, threading.get_ident()]


def test_spellings_of_one_handler_are_one_type():
    tally = Tally()
    for message_type in ("chat.message", "chat_message", "chat.message"):
        tally.note_of(message_type)(0.2)
    tally.fold()
    assert list(tally.handlers) == ["chat.message"]
    assert sum(tally.handlers["chat.message"].counts) == 3
    assert tally.handlers["chat.message"].seconds == pytest.approx(0.6)


def test_types_that_are_no_text_count_together():
    tally = Tally()
    for message_type in (None, 7, b"bytes", (1, 2)):
        tally.note_of(message_type)(0.2)
    tally.fold()
    assert list(tally.handlers) == [OTHER]
    assert sum(tally.handlers[OTHER].counts) == 4


def test_durations_that_are_all_short_are_counted_as_others_are():
    latency = Latency()
    latency.observe_all([])
    latency.observe_all([BUCKETS[0], 0.0])
    latency.observe_all([BUCKETS[0], BUCKETS[0] * 1.01])
    assert latency.counts[:2] == [3, 1]
    assert sum(latency.counts) == 4
    assert latency.seconds == pytest.approx(BUCKETS[0] * 3.01)


def test_types_beyond_those_told_apart_count_together():
    tally = Tally()
    for number in range(5000):
        tally.note_of(f"type.{number}")(0)
    tally.note_of("x" * 1_000_000)(0)
    tally.fold()
    assert len(tally.handlers) == 51
    assert sum(tally.handlers[OTHER].counts) == 4951
    assert sum(sum(latency.counts) for latency in tally.handlers.values()) == 5001
    tally.note_of("type.1")(0)
    tally.fold()
    assert sum(tally.handlers["type.1"].counts) == 2


def test_many_durations_are_sorted_as_single_ones_are():
    durations = [0, *BUCKETS, *(bound * 1.01 for bound in BUCKETS), 0.3, 0.3, 99]
    one_by_one, at_once = Latency(), Latency()
    for seconds in durations:
        one_by_one.observe(seconds)
    at_once.observe_all(durations[::-1])
    assert at_once.counts == one_by_one.counts
    assert at_once.seconds == pytest.approx(one_by_one.seconds)


def test_nothing_is_lost_or_counted_twice_while_two_threads_add_up(counting):
    tally, stop = tally_of(Consumer()), threading.Event()

    def look():
        while not stop.is_set():
            fold()

    lookers = [threading.Thread(target=look) for _ in range(2)]
    for thread in lookers:
        thread.start()
    for number in range(20_000):
        tally.has_received(1)
        tally.has_sent(2)
        tally.note_of(f"type.{number % 3}")(0.001)
    stop.set()
    for thread in lookers:
        thread.join()
    fold()
    assert (tally.received, tally.received_bytes) == (20_000, 20_000)
    assert (tally.sent, tally.sent_bytes) == (20_000, 40_000)
    assert sum(sum(latency.counts) for latency in tally.handlers.values()) == 20_000


def test_an_event_loop_adds_up_what_was_counted_on_its_thread(counting):
    mine, others = tally_of(Consumer()), Tally()
    tallies.tallies["other", -1] = others
    for tally in (mine, others):
        tally.has_sent(1)
    signals.event_loop_lagged.send(sender=None, seconds=0)
    assert (mine.sent, others.sent) == (1, 0)
    fold()
    assert (mine.sent, others.sent) == (1, 1)


def test_a_forked_child_has_a_lock_of_its_own():
    before = tallies._folding[0]
    tallies._renew_lock()
    assert tallies._folding[0] is not before


@pytest.mark.parametrize(
    ("message", "size"),
    [
        ({"text": "abc"}, 3),
        ({"text": "é€"}, 5),
        ({"text": "\ud800"}, 3),
        ({"text": None, "bytes": b"abcd"}, 4),
        ({"bytes": b""}, 0),
        ({"body": b"ab"}, 2),
        ({"body": None}, 0),
        ({}, 0),
    ],
)
def test_size_in_bytes(message, size):
    assert size_of(message) == size

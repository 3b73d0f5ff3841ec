"""What connections do is counted exactly, and clients cannot make the count grow without bound."""

import threading

import pytest

from channels._runtime import tallies
from channels._runtime.tallies import BUCKETS, OTHER, QUICK, Latency, Tally, size_of, tally_of


class Consumer:
    pass


@pytest.fixture
def counting(monkeypatch):
    monkeypatch.setattr(tallies, "counting", False)
    monkeypatch.setattr(tallies, "tallies", {})
    assert tally_of(Consumer()) is None
    tallies.start()
    assert tallies.counting


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


def test_each_class_of_durations_has_a_count_of_its_own():
    latency = Latency()
    for bound in BUCKETS:
        latency.observe(bound)
    latency.observe(BUCKETS[-1] * 2)
    assert latency.counts == [1] * (len(BUCKETS) + 1)
    assert (latency.quick, QUICK) == (1, BUCKETS[0])


def test_spellings_of_one_handler_are_one_type():
    tally = Tally()
    for message_type in ("chat.message", "chat_message", "chat.message"):
        tally.latency_of(message_type).observe(0.2)
    assert list(tally.handlers) == ["chat.message"]
    assert sum(tally.handlers["chat.message"].counts) == 3
    assert tally.handlers["chat.message"].seconds == pytest.approx(0.6)


def test_types_that_are_no_text_count_together():
    tally = Tally()
    for message_type in (None, 7, b"bytes", (1, 2)):
        tally.latency_of(message_type).observe(0.2)
    assert list(tally.handlers) == [OTHER]
    assert sum(tally.handlers[OTHER].counts) == 4


def test_types_beyond_those_told_apart_count_together():
    tally = Tally()
    for number in range(5000):
        tally.latency_of(f"type.{number}").observe(0)
    tally.latency_of("x" * 1_000_000).observe(0)
    assert len(tally.handlers) == 51
    assert sum(tally.handlers[OTHER].counts) == 4951
    assert sum(sum(latency.counts) for latency in tally.handlers.values()) == 5001
    tally.latency_of("type.1").observe(0)
    assert sum(tally.handlers["type.1"].counts) == 2


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

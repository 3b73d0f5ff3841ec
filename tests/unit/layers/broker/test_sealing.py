"""Encrypted messages are for one destination, and for a limited time."""

import itertools

import pytest
from freezegun import freeze_time
from hypothesis import given
from hypothesis import strategies as st

from channels.exceptions import SerializationError
from channels.layers.broker import sealing
from channels.layers.broker.sealing import CLOCK_SKEW, Seal, TooOld

KEYS = ["a key"]


@pytest.fixture
def clock(monkeypatch):
    """The machine's clock, which tests set."""

    class Clock:
        now = 1_800_000_000.0

    monkeypatch.setattr(sealing, "wall", lambda: Clock.now)
    return Clock


# The seal


@given(st.sampled_from(["group", "channel"]), st.text(), st.binary())
def test_what_is_sealed_can_be_opened_at_its_destination(kind, name, data):
    name = name.encode(errors="ignore").decode()
    seal = Seal(KEYS, "asgi", 60)
    assert Seal(KEYS, "asgi", 5).open(kind, name, seal.close(kind, name, data)) == data


def test_an_endless_expiry_is_one_that_can_be_sealed():
    for expiry in (float("inf"), 1e20):
        seal = Seal(KEYS, "asgi", expiry)
        assert seal.open("group", "g", seal.close("group", "g", b"data")) == b"data"


DESTINATIONS = [
    ("asgi", "group", "ab"), ("asgi", "channel", "ab"), ("asgi", "group", "a"),
    ("asg", "group", "iab"), ("asgi", "group", "abc"), ("", "group", "ab"),
]  # fmt: skip


@pytest.mark.parametrize(("sent", "opened"), [*itertools.permutations(DESTINATIONS, 2)])
def test_it_cannot_be_opened_anywhere_else(sent, opened):
    sealed = Seal(KEYS, sent[0], 60).close(*sent[1:], b"data")
    with pytest.raises(SerializationError, match=f"not sealed for the {opened[1]} {opened[2]}"):
        Seal(KEYS, opened[0], 60).open(*opened[1:], sealed)


def test_nothing_in_it_can_be_changed():
    seal = Seal(KEYS, "asgi", 60)
    sealed = seal.close("group", "g", b"data")
    for position in range(len(sealed)):
        changed = bytearray(sealed)
        changed[position] ^= 1
        with pytest.raises(SerializationError):
            seal.open("group", "g", bytes(changed))
    for end in range(len(sealed)):
        with pytest.raises(SerializationError):
            seal.open("group", "g", sealed[:end])


def test_keys_rotate():
    old, both, new = (Seal(keys, "asgi", 60) for keys in (["old"], [b"new", "old"], ["new"]))
    assert both.open("group", "g", old.close("group", "g", b"data")) == b"data"
    assert new.open("group", "g", both.close("group", "g", b"data")) == b"data"
    with pytest.raises(SerializationError, match="same symmetric_encryption_keys"):
        old.open("group", "g", both.close("group", "g", b"data"))


@pytest.mark.parametrize("expiry", [1, 5, 60])
def test_it_is_over_when_the_message_expires(clock, expiry):
    """The sender's expiry counts, and clocks may differ a little."""
    sealed = Seal(KEYS, "asgi", expiry).close("group", "g", b"data")
    reader = Seal(KEYS, "asgi", 1000)
    clock.now += expiry
    assert reader.open("group", "g", sealed) == b"data"
    clock.now += min(CLOCK_SKEW, expiry) + 0.1
    with pytest.raises(TooOld, match="after its expiry"):
        reader.open("group", "g", sealed)


def test_a_clock_that_is_behind_the_senders_harms_nothing(clock):
    seal = Seal(KEYS, "asgi", 1)
    sealed = seal.close("group", "g", b"data")
    clock.now -= 1000
    assert seal.open("group", "g", sealed) == b"data"


@pytest.mark.parametrize("frozen", ["2001-01-01", "2101-01-01"])
def test_a_clock_that_a_test_has_frozen_changes_nothing(frozen):
    seal = Seal(KEYS, "asgi", 60)
    with freeze_time(frozen):
        sealed = seal.close("group", "g", b"data")
        assert seal.open("group", "g", sealed) == b"data"
    assert seal.open("group", "g", sealed) == b"data"
    with freeze_time(frozen):
        assert seal.open("group", "g", sealed) == b"data"


def test_a_message_of_before_there_were_seals_is_told_from_one():
    with pytest.raises(SerializationError, match=r"has no seal.*same version"):
        Seal(KEYS, "asgi", 60).open("group", "g", b"gAAAAABl" + b"x" * 200)

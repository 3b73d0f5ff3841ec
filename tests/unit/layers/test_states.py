"""States within one process: how many are kept, and for how long."""

from functools import partial

import pytest

from channels.layers.states import LocalStates, require_revision, require_state_expiry

CAPACITY = 1000


@pytest.fixture
def states():
    return LocalStates(limit=20)


def put(states, collection, field, expiry=60, revision=None, value=0):
    copy = partial(dict, value=value)
    return states.set(collection, field, copy, expiry, revision, CAPACITY)


def names(states, collections):
    return {(name, field) for name in collections for field in states.get(name)}


def test_what_has_expired_takes_no_room_for_long(states, clock):
    for n in range(15):
        put(states, "jobs", f"old-{n}", expiry=10)
    clock.advance(11)
    assert states.get("jobs") == {}
    for n in range(15):
        put(states, "other", f"new-{n}", expiry=10)
    assert names(states, ["jobs", "other"]) == {("other", f"new-{n}") for n in range(15)}
    for _ in range(20):
        put(states, "other", "new-1", expiry=10)
    assert len(states) == 15


def test_states_of_all_collections_are_bounded(states):
    put(states, "lasting", "field", expiry=1000)
    for n in range(500):
        put(states, f"collection-{n}", "field", expiry=100 + n)
        assert len(states) <= 20
    kept = names(states, ["lasting", *(f"collection-{n}" for n in range(500))])
    assert ("lasting", "field") in kept
    assert ("collection-499", "field") in kept
    assert 15 <= len(kept) <= 20


def test_a_collection_is_bounded(states):
    for n in range(5):
        states.set("jobs", f"f{n}", dict, 60 - n, None, 3)
    assert set(states.get("jobs")) == {"f0", "f1", "f4"}
    assert len(states) == 3


def test_forgotten_states_are_not_counted(states):
    for field in "ab":
        put(states, "jobs", field)
    states.delete("jobs", "a")
    states.delete("jobs", "a")
    assert len(states) == 1
    states.delete("jobs", "b")
    assert (len(states), states.get("jobs")) == (0, {})
    put(states, "jobs", "c")
    states.clear()
    assert (len(states), states.get("jobs")) == (0, {})


def test_the_same_revision_with_the_same_value_is_set_again(states, clock):
    assert put(states, "jobs", "a", expiry=10, revision=3, value=1)
    clock.advance(8)
    assert put(states, "jobs", "a", expiry=10, revision=3, value=1)
    assert not put(states, "jobs", "a", expiry=10, revision=3, value=2)
    clock.advance(8)
    assert states.get("jobs")["a"]() == {"value": 1}
    clock.advance(3)
    assert put(states, "jobs", "a", revision=1), "an expired one does not count"


@pytest.mark.parametrize("revision", [-1, 2**53 + 1, 1.5, "1", True])
def test_what_is_no_revision_is_refused(revision):
    with pytest.raises(ValueError, match="whole number from 0"):
        require_revision(revision)
    for valid in (None, 0, 2**53):
        require_revision(valid)


@pytest.mark.parametrize("expiry", [0, -1, float("nan"), "60", None, True])
def test_what_is_no_time_to_live_is_refused(expiry):
    with pytest.raises(ValueError, match="more than 0"):
        require_state_expiry(expiry)
    require_state_expiry(float("inf"))

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime import clock
from channels._runtime.buckets import Buckets, take

RATES = st.tuples(st.floats(0.001, 100), st.integers(1, 50))  # interval, burst
STEPS = st.lists(st.tuples(st.floats(0, 20), st.integers(1, 60)), max_size=40)


@given(RATES, STEPS)
def test_a_bucket_gives_what_a_count_of_tokens_gives(rate, steps):
    """The model: a number of tokens that grows with time, up to the burst."""
    (interval, burst), now, full_at, tokens = rate, 1000.0, 0.0, float(rate[1])
    for pause, cost in steps:
        now += pause
        tokens = min(float(burst), tokens + pause / interval)
        if abs(tokens - cost) < 1e-4:
            tokens = float(cost)  # within the precision of floats either is right
            full_at = now + (burst - tokens) * interval
        full_at, wait = take(full_at, now, interval, burst, cost)
        assert (wait == 0) == (tokens >= cost)
        if not wait:
            tokens -= cost
        else:
            assert wait == pytest.approx((cost - tokens) * interval, rel=1e-3, abs=1e-6)


@given(RATES, STEPS)
def test_no_more_passes_than_the_rate_and_a_burst(rate, steps):
    (interval, burst), now, full_at, passed = rate, 0.5, 0.0, 0
    for pause, cost in steps:
        now += pause
        full_at, wait = take(full_at, now, interval, burst, cost)
        passed += 0 if wait else cost
    assert passed <= burst + (now - 0.5) / interval + 1e-3


@given(RATES, st.integers(1, 500))
def test_after_the_wait_there_are_enough(rate, cost):
    interval, burst = rate
    empty, _ = take(0.0, 5.0, interval, burst, burst)
    same, wait = take(empty, 5.0, interval, burst, cost, debt=True)
    assert same == empty
    assert wait == pytest.approx(min(cost, burst) * interval, rel=1e-6)
    after, again = take(empty, 5.0 + wait, interval, burst, cost, debt=True)
    assert again == 0
    # What was taken beyond a full bucket delays what comes next.
    assert after - 5.0 - wait >= cost * interval * (1 - 1e-9)


def test_more_than_a_bucket_holds_can_never_be_had_without_debt():
    assert take(0.0, 100.0, 1.0, 5, 6)[1] > 0
    assert take(0.0, 1e9, 1.0, 5, 6)[1] > 0


@pytest.fixture
def time(monkeypatch):
    class Time:
        now = 0.0  # of a young machine

    monkeypatch.setattr(clock, "now", lambda: Time.now)
    return Time


def test_each_key_has_a_bucket_of_its_own(time):
    kept = Buckets()
    assert [kept.take("a", 1, 2) for _ in range(3)] == [0, 0, 1]
    assert kept.take("b", 1, 2) == 0
    time.now = 1.0
    assert kept.take("a", 1, 2) == 0
    kept.clear()
    assert (len(kept), kept.take("a", 1, 2)) == (0, 0)


def test_some_are_taken_if_there_are_not_as_many_as_wanted(time):
    kept = Buckets()
    assert kept.take_some("a", 1, 10, 1, 6) == (6, 0)
    assert kept.take_some("a", 1, 10, 1, 6) == (4, 0)
    assert kept.take_some("a", 1, 10, 2, 6) == (0, 2)
    time.now = 3.0
    assert kept.take_some("a", 1, 10, 2, 6) == (3, 0)


def test_a_client_with_a_million_addresses_does_not_fill_the_memory(time):
    kept = Buckets(most=100)
    kept.take("busy", 1, 1)
    for number in range(5000):
        assert kept.take(f"address {number}", 1, 1) == 0
        assert kept.take("busy", 1, 1) == 1, "who goes on trying is not forgotten"
    assert len(kept) == 100

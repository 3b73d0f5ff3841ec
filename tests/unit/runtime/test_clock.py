"""The clock that goes on while a test has frozen time."""

import time

import pytest
from freezegun import freeze_time

from channels._runtime import clock

# Today, as most tests freeze it; the past; the future.
MOMENTS = [None, "1999-12-31", "2100-01-01"]


def test_it_agrees_with_the_monotonic_clock():
    before = time.monotonic()
    now = clock.now()
    assert before - 1 <= now <= time.monotonic() + 1


@pytest.mark.parametrize("moment", MOMENTS)
def test_it_cannot_be_frozen(moment):
    before = clock.now()
    with freeze_time(moment):
        frozen = time.monotonic()
        assert before <= clock.now() < before + 3600
        assert time.monotonic() == frozen, "this test has frozen nothing"
        assert abs(frozen - before) > 3600


def test_it_does_not_stand_still_while_time_is_frozen():
    with freeze_time():
        before = clock.now()
        for _ in range(10_000_000):
            if clock.now() > before:
                return
    pytest.fail("ten million looks at the clock, and no time has passed")

"""Pauses between attempts that fail."""

import random

import pytest
from hypothesis import given
from hypothesis import strategies as st

from channels._runtime.backoff import random_pause


@given(st.integers(1, 10_000), st.floats(0.01, 10), st.floats(10, 300))
def test_a_pause_is_below_a_limit_that_doubles_up_to_the_last_one(failures, first, last):
    assert 0 <= random_pause(failures, first, last) <= min(last, first * 2 ** min(failures - 1, 64))


@pytest.mark.parametrize(
    ("failures", "limit"), [(1, 1), (2, 2), (3, 4), (4, 8), (5, 10), (900, 10)]
)
def test_the_whole_range_below_the_limit_is_used(failures, limit):
    pauses = [random_pause(failures, 1, 10) for _ in range(500)]
    assert min(pauses) < limit / 4
    assert max(pauses) > limit * 3 / 4


def test_a_seed_of_the_project_does_not_foretell_it():
    random.seed(1)
    before = random_pause(9, 1, 100)
    random.seed(1)
    assert random_pause(9, 1, 100) != before

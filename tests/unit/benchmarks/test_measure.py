import sys

import pytest

from benchmarks.measure import Result, measure

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("scenario", ["echo", "broadcast-100", "blocking", "layer"])
def test_this_checkout_can_be_measured(scenario):
    result = measure("checkout", scenario, sys.executable, seconds=0.3)
    assert result.count > 0
    assert (result.lost, result.duplicated) == (0, 0)
    assert result.log == ""
    assert result.rate > 0
    assert result.cpu_ms >= 0


def test_the_floor_can_be_measured():
    result = measure("asgi", "echo", sys.executable, seconds=0.3)
    assert isinstance(result, Result)
    assert result.cpu_ms > 0
    assert 0 < result.p50_ms <= result.p99_ms

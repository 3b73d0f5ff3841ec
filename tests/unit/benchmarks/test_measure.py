import sys
from dataclasses import replace

import pytest

from benchmarks.measure import Result, measure
from benchmarks.scenarios import SCENARIOS
from benchmarks.servers import find_redis
from tests.brokers import unavailable

pytestmark = [pytest.mark.server, pytest.mark.slow]


@pytest.mark.parametrize("scenario", ["echo", "broadcast-100", "blocking", "layer"])
def test_this_checkout_can_be_measured(scenario):
    result = measure("checkout", scenario, sys.executable, seconds=0.3)
    assert result.count > 0
    assert (result.lost, result.duplicated) == (0, 0)
    assert result.log == ""
    assert result.rate > 0
    assert result.cpu_ms >= 0


@pytest.mark.parametrize(
    ("contender", "scenario"),
    [
        ("checkout", "redis-cross"),
        ("checkout-pubsub", "redis-broadcast-100"),
        ("checkout-sync", "redis-sync"),
    ],
)
def test_this_checkout_can_be_measured_over_redis(contender, scenario):
    redis = find_redis()
    if redis is None:
        unavailable("redis-server")
    result = measure(contender, scenario, sys.executable, seconds=0.3, redis=redis)
    assert result.count > 0
    assert (result.lost, result.duplicated) == (0, 0)
    assert result.log == ""
    assert result.redis_ms is not None


def test_a_scenario_over_redis_says_that_it_needs_one():
    with pytest.raises(RuntimeError, match="redis-rooms needs a Redis server"):
        measure("checkout", "redis-rooms", sys.executable, seconds=0.3)


def test_the_memory_of_idle_connections_can_be_measured(monkeypatch):
    monkeypatch.setitem(SCENARIOS, "idle", replace(SCENARIOS["idle"], members=300))
    result = measure("checkout", "idle", sys.executable, seconds=0.3)
    assert (result.count, result.lost, result.duplicated, result.log) == (300, 0, 0, "")
    assert 5 < result.memory_kib == result.score < 200


def test_the_floor_can_be_measured():
    result = measure("asgi", "echo", sys.executable, seconds=0.3)
    assert isinstance(result, Result)
    assert result.cpu_ms > 0
    assert 0 < result.p50_ms <= result.p99_ms

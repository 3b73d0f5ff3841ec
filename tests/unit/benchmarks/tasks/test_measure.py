import sys

import pytest

from benchmarks.tasks import measure
from tests.brokers import find_servers, unavailable


@pytest.mark.slow
def test_a_run_of_a_contender_loses_nothing_and_costs_something(monkeypatch):
    monkeypatch.setattr(measure, "RESUME_PATIENCE", 0.5)
    monkeypatch.setattr(measure, "pin", lambda process, core: None)
    redis = find_servers().get("valkey") or unavailable("a valkey server")
    found = measure.measure("celery-prefork", sys.executable, 100, redis_server=redis)
    assert found.lost == 0
    assert found.resumed_s is None
    assert found.cpu_ms > found.worker_cpu_ms > 0
    assert 0 < found.p50_ms <= found.p95_ms


def test_without_a_redis_server_nothing_is_measured():
    with pytest.raises(RuntimeError, match="needs a Redis server"):
        measure.measure("celery-threads", sys.executable, 1)

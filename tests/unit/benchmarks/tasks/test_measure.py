import signal
import sqlite3
import sys
import time
from contextlib import closing
from dataclasses import replace

import pytest

from benchmarks.tasks import measure
from benchmarks.tasks.contenders import CONTENDERS
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


HOLDER = """
import sqlite3, sys, time
database = sqlite3.connect(sys.argv[1], isolation_level=None)
print("ready", flush=True)
while True:
    database.execute("BEGIN IMMEDIATE")
    time.sleep(0.05)
    database.execute("COMMIT")
    time.sleep(0.001)
"""


def test_no_worker_is_paused_where_it_holds_the_lock_of_the_database(tmp_path):
    contender = replace(CONTENDERS["django-tasks-db"], prepare=())
    bench = measure.Bench(contender, sys.executable, None, tmp_path, None)
    database = bench.environ["BENCHMARK_DATABASE"]
    worker = measure.Group([sys.executable, "-c", HOLDER, database], {}, bench.log, None)
    try:
        deadline = time.monotonic() + 30
        while "ready" not in bench.log.read_text():
            assert time.monotonic() < deadline
            time.sleep(0.01)
        for _ in range(3):
            bench.pause(worker)
            with closing(sqlite3.connect(database, timeout=0)) as mine:
                mine.execute("BEGIN IMMEDIATE")  # raises when it is locked
            worker.signal(signal.SIGCONT)
    finally:
        worker.kill()


def test_a_worker_that_always_holds_the_lock_is_an_error(tmp_path, monkeypatch):
    monkeypatch.setattr(measure, "PATIENCE", 0.05)
    contender = replace(CONTENDERS["django-tasks-db"], prepare=())
    bench = measure.Bench(contender, sys.executable, None, tmp_path, None)
    worker = measure.Group([sys.executable, "-c", "input()"], {}, bench.log, None)
    try:
        with closing(sqlite3.connect(bench.environ["BENCHMARK_DATABASE"])) as other:
            other.execute("BEGIN IMMEDIATE")
            with pytest.raises(RuntimeError, match="holds the lock"):
                bench.pause(worker)
    finally:
        worker.kill()

"""What watching costs is taken from turns side by side, and from what valgrind writes."""

import os
import sys
import time

import pytest

from benchmarks import observability
from benchmarks.observability import MODES, compare, cpu_seconds, instructions
from benchmarks.scenarios import Scenario


def test_each_turn_is_compared_with_the_one_beside_it():
    costs = {"off": [10.0, 20.0, 30.0], "traces": [11.0, 22.0, 60.0]}
    assert compare(costs, "traces") == pytest.approx(0.1)


@pytest.mark.skipif(sys.platform != "linux", reason="reads /proc")
def test_cpu_time_is_that_of_the_process():
    before, started = cpu_seconds(os.getpid()), time.process_time()
    while time.process_time() < started + 0.2:
        pass
    assert 0.1 < cpu_seconds(os.getpid()) - before < 2


def test_the_totals_of_dumps_are_read(tmp_path):
    (tmp_path / "callgrind.off.1").write_text("events: Ir\nsummary: 1234\n\ntotals: 1234\n")
    (tmp_path / "callgrind.off").write_text("summary: 99\n")
    assert list(observability._totals(tmp_path, "callgrind.off")) == [1234]


def test_traces_of_which_all_and_none_are_kept_are_counted_apart_and_weighted(
    monkeypatch, tmp_path
):
    counted = {"None": 100.0, "0.0": 200.0, "1.0": 1000.0}
    monkeypatch.setattr(observability, "_count", lambda *args: counted[args[-1]["BENCHMARK_KEPT"]])
    found = instructions(observability.SCENARIOS["echo"], 1.0, tmp_path)
    assert found == pytest.approx({"off": 100, "prometheus": 100, "traces": 208})


@pytest.mark.server
@pytest.mark.slow
def test_every_mode_is_measured(capsys, monkeypatch):
    monkeypatch.setitem(observability.SCENARIOS, "echo", Scenario("few", "/echo/", in_flight=1))
    observability.main(["--scenarios", "echo", "--turns", "2", "--seconds", "0.05"])
    lines = capsys.readouterr().out.splitlines()[2:]
    assert [line.split(" | ")[1] for line in lines] == list(MODES)

import json
import subprocess
import sys
from pathlib import Path

import pytest

from benchmarks import __main__
from benchmarks.scenarios import GROUPS, SCENARIOS

from .test_report import RECORD

ROOT = Path(__file__).parents[3]


def test_the_results_of_an_earlier_run_are_shown_and_written_again(tmp_path):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(RECORD))
    command = [sys.executable, "-m", "benchmarks", "--read", str(earlier), "--out", str(tmp_path)]
    shown = subprocess.run(command, cwd=ROOT, check=True, capture_output=True, text=True).stdout
    assert "| echo, 50 clients | this checkout |" in shown
    assert (tmp_path / "benchmarks.md").read_text() in shown
    assert (tmp_path / "benchmarks.svg").read_text().startswith("<svg")
    assert json.loads((tmp_path / "benchmarks.json").read_text()) == RECORD


@pytest.mark.parametrize(
    ("names", "chosen"),
    [
        ([], list(SCENARIOS)),
        (["--scenarios", "redis"], GROUPS["redis"]),
        (["--scenarios", "layer", "memory"], GROUPS["memory"]),
        (["--scenarios", "redis-sync", "echo"], ["echo", "redis-sync"]),
    ],
)
def test_scenarios_are_chosen_by_name_or_group(names, chosen, monkeypatch):
    monkeypatch.setattr(sys, "argv", ["benchmarks", *names])
    assert __main__.arguments().scenarios == chosen


def test_without_a_redis_server_its_scenarios_are_left_out_and_the_reason_given(
    monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--scenarios", "redis"])
    monkeypatch.setattr(__main__, "find_redis", lambda: None)
    options = __main__.arguments()
    with pytest.raises(SystemExit, match="1"):
        __main__.run(options)
    assert options.scenarios == []
    assert "there is no redis-server on PATH" in capsys.readouterr().err


def test_where_few_files_may_be_open_big_scenarios_are_left_out_and_the_reason_given(
    monkeypatch, capsys
):
    monkeypatch.setattr(sys, "argv", ["benchmarks", "--scenarios", "idle"])
    monkeypatch.setattr(__main__, "allow_many_connections", lambda number: 800)
    options = __main__.arguments()
    with pytest.raises(SystemExit, match="1"):
        __main__.run(options)
    assert options.scenarios == []
    assert "Scenarios with 5000 connections are left out" in capsys.readouterr().err

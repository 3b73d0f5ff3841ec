import json
import subprocess
import sys
from pathlib import Path

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

import json
import subprocess
import sys
from pathlib import Path

from .test_report import RECORD

ROOT = Path(__file__).parents[4]


def test_the_results_of_an_earlier_run_are_shown_and_written_again(tmp_path):
    earlier = tmp_path / "earlier.json"
    earlier.write_text(json.dumps(RECORD))
    command = [sys.executable, "-m", "benchmarks.tasks", "--read", str(earlier)]
    shown = subprocess.run(
        [*command, "--out", str(tmp_path)], cwd=ROOT, check=True, capture_output=True, text=True
    ).stdout
    assert "| this checkout | 1,000 |" in shown
    assert (tmp_path / "tasks.md").read_text() in shown
    assert json.loads((tmp_path / "tasks.json").read_text()) == RECORD

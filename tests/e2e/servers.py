"""The examples' projects: their folder, and their ``manage.py``."""

import subprocess
import sys
from collections.abc import Mapping
from pathlib import Path

from tests.processes import ServerProcess, environment

__all__ = ["EXAMPLES", "ServerProcess", "environment", "manage"]

EXAMPLES = Path(__file__).resolve().parents[2] / "examples"


def manage(project: Path, *arguments: str, env: Mapping[str, str]) -> str:
    """Run ``manage.py`` of ``project`` and return what it printed; fail with all of it."""
    done = subprocess.run(
        [sys.executable, "-W", "error", "manage.py", *arguments],
        cwd=project,
        env=environment(**env),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout
    return done.stdout

"""Every example passes its own tests, as a project that was copied out of here would."""

import subprocess
import sys
from pathlib import Path

import pytest

from .servers import EXAMPLES, environment, manage

PROJECTS = sorted(path.parent for path in EXAMPLES.glob("*/manage.py"))
TESTED = [project for project in PROJECTS if any(project.glob("*/tests*"))]


def test_there_are_examples() -> None:
    assert {project.name for project in PROJECTS} >= {"showcase", "studio", "tutorials"}


@pytest.mark.parametrize("project", PROJECTS, ids=lambda project: project.name)
def test_system_checks(project: Path) -> None:
    printed = manage(project, "check", "--fail-level=WARNING", env={})
    assert "no issues" in printed


@pytest.mark.parametrize("project", TESTED, ids=lambda project: project.name)
def test_migrations_are_complete(project: Path, tmp_path: Path) -> None:
    database = str(tmp_path / "db.sqlite3")
    env = {"SHOWCASE_DATABASE": database, "STUDIO_DATABASE": database}
    assert "No changes detected" in manage(
        project, "makemigrations", "--check", "--dry-run", env=env
    )


@pytest.mark.slow
@pytest.mark.parametrize("project", TESTED, ids=lambda project: project.name)
def test_own_tests_with_djangos_runner(project: Path) -> None:
    assert "\nOK" in manage(project, "test", env={})


@pytest.mark.parametrize("project", TESTED, ids=lambda project: project.name)
def test_own_tests_with_pytest(project: Path) -> None:
    done = subprocess.run(
        [sys.executable, "-m", "pytest", "-q"],
        cwd=project,
        env=environment(),
        stdout=subprocess.PIPE,
        stderr=subprocess.STDOUT,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stdout

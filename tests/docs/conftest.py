"""The project that the pages other than the tutorial are executed in."""

import json
import subprocess
import sys
from collections.abc import Callable, Iterator
from pathlib import Path

import pytest

from .project import Project, environment

SETTINGS = """
ASGI_APPLICATION = "mysite.asgi.application"
CHANNEL_LAYERS = {"default": {"BACKEND": "channels.layers.InMemoryChannelLayer"}}
"""


@pytest.fixture(scope="session")
def base_project(tmp_path_factory: pytest.TempPathFactory) -> Project:
    """What ``startproject`` and ``startapp`` make, with Channels installed and a database."""
    folder = tmp_path_factory.mktemp("base")
    project = Project(folder)
    project.run("django-admin startproject mysite .")
    project.run("python manage.py startapp chat")
    settings = folder / "mysite" / "settings.py"
    text = settings.read_text("utf-8")
    text = text.replace("INSTALLED_APPS = [", "INSTALLED_APPS = [\n    'channels',\n    'chat',")
    settings.write_text(text + SETTINGS, "utf-8")
    project.run("python manage.py migrate")
    return project


@pytest.fixture
def project(base_project: Project, tmp_path: Path) -> Project:
    """A copy of the base project."""
    return base_project.copy_to(tmp_path / "project")


@pytest.fixture(scope="session")
def page_runner() -> Iterator[subprocess.Popen[str]]:
    """The program that runs pages."""
    with subprocess.Popen(
        [sys.executable, Path(__file__).with_name("run_page.py")],
        env=environment(),
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        text=True,
    ) as program:
        yield program


@pytest.fixture
def run_page(
    project: Project, page_runner: subprocess.Popen[str], tmp_path: Path
) -> Callable[[Path], str]:
    """Runs the code of a page in the project, and returns what it printed; raises if it failed."""

    def run_page(page: Path) -> str:
        assert page_runner.stdin is not None
        assert page_runner.stdout is not None
        output = tmp_path / "output"
        task = {
            "page": str(page),
            "folder": str(project.folder),
            "environment": environment(),
            "output": str(output),
        }
        print(json.dumps(task), file=page_runner.stdin, flush=True)
        code = page_runner.stdout.readline().strip()
        assert code == "0", f"{page} ended with {code or 'no code'}:\n{output.read_text('utf-8')}"
        return output.read_text("utf-8")

    return run_page

"""The project that the pages other than the tutorial are executed in."""

from pathlib import Path

import pytest

from .project import Project

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

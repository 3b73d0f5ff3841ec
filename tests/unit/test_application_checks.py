"""The check of the imports of ``asgi.py``, in modules as projects have them.

Whole projects, in processes of their own, are in ``test_newcomers.py``.
"""

import sys
from types import ModuleType

import pytest

from channels.application_checks import check_import_order

pytestmark = pytest.mark.usefixtures("measured_processes")

ASGI = """
import lobby_consumers

def setup():
    "Django is set up already."

setup()
application = lobby_consumers.application
"""
A_MODEL = "from django.contrib.sessions.models import Session"
APPLICATION = """
async def application(scope, receive, send):
    pass
"""


@pytest.fixture
def project(tmp_path, monkeypatch, settings):
    """Makes the modules of a project; returns the path of its ``asgi.py``."""

    def make(imported):
        (tmp_path / "lobby_consumers.py").write_text(imported + APPLICATION)
        asgi = tmp_path / "lobby_asgi.py"
        asgi.write_text(ASGI)
        return asgi

    monkeypatch.syspath_prepend(tmp_path)
    settings.ASGI_APPLICATION = "lobby_asgi.application"
    yield make
    for name in ("lobby_asgi", "lobby_consumers"):
        sys.modules.pop(name, None)


def test_a_model_that_is_imported_before_django_is_set_up_is_told_of(project):
    project(A_MODEL)
    [message] = check_import_order(None)
    assert message.id == "channels.W013"
    assert message.msg.startswith(
        "lobby_asgi.py, line 2, imports the model django.contrib.sessions.models.Session before "
        "Django is set up in line 7"
    )


def test_the_base_class_of_models_may_be_imported_before_django_is_set_up(project):
    """Django makes no entry in the app registry for it."""
    project("from django.db.models import Model")
    assert check_import_order(None) == []


@pytest.mark.parametrize(
    "content",
    [None, b"import (", b"# caf\xe9", b"\0"],
    ids=["removed", "no Python", "no UTF-8", "binary"],
)
def test_nothing_is_said_of_a_source_that_cannot_be_read(project, content):
    """It has changed since it was imported."""
    asgi = project(A_MODEL)
    assert len(check_import_order(None)) == 1
    if content is None:
        asgi.unlink()
    else:
        asgi.write_bytes(content)
    assert check_import_order(None) == []


def test_nothing_is_said_of_a_module_that_has_no_source(settings, monkeypatch):
    module = ModuleType("lobby_asgi")
    module.application = object()
    monkeypatch.setitem(sys.modules, "lobby_asgi", module)
    settings.ASGI_APPLICATION = "lobby_asgi.application"
    assert check_import_order(None) == []

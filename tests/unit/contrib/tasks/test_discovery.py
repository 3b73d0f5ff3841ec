"""The tasks of installed applications are imported, and one that fails stops no others."""

import sys

import pytest

from channels.contrib.tasks.discovery import import_tasks


@pytest.fixture
def application(tmp_path, monkeypatch, settings):
    """Make an application with a module ``tasks``, and install it."""
    monkeypatch.syspath_prepend(tmp_path)

    def application(name, code):
        (tmp_path / name).mkdir()
        (tmp_path / name / "__init__.py").write_text("")
        if code is not None:
            (tmp_path / name / "tasks.py").write_text(code)
        settings.INSTALLED_APPS = [*settings.INSTALLED_APPS, name]

    yield application
    for name in [name for name in sys.modules if name.startswith("discovered_")]:
        del sys.modules[name]


def test_modules_of_tasks_are_imported(application):
    application("discovered_one", "VALUE = 1")
    application("discovered_without", None)
    application("discovered_two", "VALUE = 2")
    assert import_tasks() == ["discovered_one.tasks", "discovered_two.tasks"]
    assert sys.modules["discovered_two.tasks"].VALUE == 2


@pytest.mark.parametrize("code", ["1 / 0", "raise SystemExit", "import no_such_module"])
def test_one_that_fails_is_logged_and_others_go_on(application, caplog, code):
    application("discovered_broken", code)
    application("discovered_well", "")
    assert import_tasks() == ["discovered_well.tasks"]
    assert "The tasks in discovered_broken.tasks cannot be imported" in caplog.text
    assert caplog.records[0].exc_info is not None

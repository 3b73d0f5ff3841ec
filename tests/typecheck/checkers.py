"""mypy and pyright, run on a folder as a project would run them."""

import importlib.util
import json
import os
import re
import shutil
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path

import pytest

__all__ = ["CHECKERS", "Reports", "Typechecker"]

ROOT = Path(__file__).resolve().parents[2]

#: What is wrong, by file and line.
Reports = dict[tuple[str, int], str]
#: Checks the Python files in a folder, strictly or as far as code without annotations allows.
Typechecker = Callable[..., Reports]

_MYPY_LINE = re.compile(r"^(?P<file>[^:]+):(?P<line>\d+): error: (?P<text>.*)$")


def _run(*command: str, folder: Path) -> str:
    """What a checker prints. It runs in an environment that knows this package by its source."""
    environment = {
        **os.environ,
        "MYPYPATH": os.pathsep.join((str(ROOT / "src"), str(folder))),
        "PYTHONPATH": os.pathsep.join((str(ROOT / "src"), str(folder))),
        "PYRIGHT_PYTHON_IGNORE_WARNINGS": "1",
    }
    done = subprocess.run(
        [sys.executable, "-m", *command],
        cwd=folder,
        env=environment,
        capture_output=True,
        text=True,
        check=False,
        timeout=300,
    )
    if done.returncode not in (0, 1):  # 1 says that there are errors in the code
        raise AssertionError(f"{command[0]} failed:\n{done.stdout}{done.stderr}")
    return done.stdout


def _mypy(folder: Path, *, strict: bool, plugin: bool) -> Reports:
    settings = [f"strict = {strict}", "check_untyped_defs = True"]
    if plugin:
        settings.append("plugins = mypy_django_plugin.main")
    lines = ["[mypy]", *settings, "[mypy.plugins.django-stubs]"]
    lines += ["django_settings_module = mysite.settings"] if plugin else []
    config = folder / "mypy.ini"
    config.write_text("\n".join(lines) + "\n")
    output = _run("mypy", "--config-file", str(config), ".", folder=folder)
    found = [match for line in output.splitlines() if (match := _MYPY_LINE.match(line))]
    assert found or "Success" in output, output
    return {(match["file"], int(match["line"])): match["text"] for match in found}


def mypy_with_plugin(folder: Path, *, strict: bool = True) -> Reports:
    """mypy with django-stubs and its plugin, which imports the project's settings."""
    return _mypy(folder, strict=strict, plugin=True)


def mypy_without_plugin(folder: Path, *, strict: bool = True) -> Reports:
    """mypy with django-stubs, but without the plugin."""
    return _mypy(folder, strict=strict, plugin=False)


def pyright(folder: Path, *, strict: bool = True) -> Reports:
    """Pyright with its standard rules, whether ``strict`` or not."""
    config = {"include": ["."], "extraPaths": [str(ROOT / "src"), "."]}
    (folder / "pyrightconfig.json").write_text(json.dumps(config))
    output = _run("pyright", "--outputjson", "--pythonpath", sys.executable, folder=folder)
    result = json.loads(output)
    assert result["summary"]["filesAnalyzed"], output
    return {
        (
            str(Path(found["file"]).relative_to(folder.resolve())),
            found["range"]["start"]["line"] + 1,
        ): found["message"]
        for found in result["generalDiagnostics"]
        if found["severity"] == "error"
    }


def _why_not(tool: str) -> str:
    """Why a tool cannot be run here; nothing if it can."""
    if importlib.util.find_spec(tool) is None:
        return f"{tool} is not installed; `make check` installs it and runs this"
    try:
        _run(tool, "--version", folder=ROOT)
    except (AssertionError, subprocess.TimeoutExpired) as error:
        why = f"{tool} does not run, perhaps for want of what it downloads: {error}"
        if os.environ.get("CI"):
            pytest.fail(why)
        return why
    return ""


def require(checker: Typechecker) -> None:
    """Skip the test if the checker is not installed here."""
    why = _why_not("pyright" if checker is pyright else "mypy")
    if why:
        pytest.skip(why)


def copy_of(project: Path, folder: Path) -> Path:
    """A copy of ``project`` in ``folder``, for the files that checkers leave there."""
    return Path(shutil.copytree(project, folder / project.name))


CHECKERS = [mypy_with_plugin, mypy_without_plugin, pyright]

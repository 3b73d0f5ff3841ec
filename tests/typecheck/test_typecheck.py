"""What projects write passes type checkers, and their mistakes are found."""

from pathlib import Path

import pytest

from ..docs.markdown import blocks_of
from ..docs.project import Project
from .checkers import CHECKERS, Reports, Typechecker, copy_of, require

ROOT = Path(__file__).resolve().parents[2]
SITE = Path(__file__).parent / "site"
MISTAKES = "chat/mistakes.py"

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module", params=CHECKERS, ids=lambda checker: checker.__name__)
def checker(request: pytest.FixtureRequest) -> Typechecker:
    require(request.param)
    return request.param


@pytest.fixture(scope="module")
def reports(checker: Typechecker, tmp_path_factory: pytest.TempPathFactory) -> Reports:
    return checker(copy_of(SITE, tmp_path_factory.mktemp("typecheck")))


def test_code_as_the_documentation_has_it_passes(reports: Reports) -> None:
    assert {place: text for place, text in reports.items() if place[0] != MISTAKES} == {}


def test_each_mistake_is_reported_in_its_line(reports: Reports) -> None:
    lines = (SITE / MISTAKES).read_text().splitlines()
    expected = {number for number, line in enumerate(lines, 1) if line.endswith("# error")}
    assert {line for file, line in reports if file == MISTAKES} == expected


def test_the_tutorial_passes(checker: Typechecker, tmp_path: Path) -> None:
    """Its code has no annotations, so that this is about what checkers infer."""
    project = Project(tmp_path)
    project.run("django-admin startproject mysite .")
    project.run("python manage.py startapp chat")
    for page in sorted((ROOT / "docs" / "tutorial").glob("part_*.md")):
        for block in blocks_of(page):
            if block.mark in ("file", "append", "edit"):
                project.write(block)
    assert (tmp_path / "chat" / "tests.py").exists()
    assert checker(tmp_path, strict=False) == {}


def test_the_consumers_of_the_example_pass(checker: Typechecker, tmp_path: Path) -> None:
    found = checker(copy_of(ROOT / "examples" / "showcase", tmp_path), strict=False)
    asked = (
        "chat/consumers.py",
        "chat/routing.py",
        "mysite/asgi.py",
        "notifications/consumers.py",
        "notifications/routing.py",
        "showcase/sessions.py",
    )
    assert {place: text for place, text in found.items() if place[0] in asked} == {}

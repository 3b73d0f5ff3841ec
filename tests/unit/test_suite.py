"""Habits of the test suite: every test asserts, and what no test runs says why."""

import ast
import re
from collections.abc import Iterator
from pathlib import Path
from typing import TypeAlias

import pytest

ROOT = Path(__file__).resolve().parents[2]

Function: TypeAlias = ast.FunctionDef | ast.AsyncFunctionDef

# What fails a test by itself. ``until`` and ``eventually`` fail at their deadline.
ASSERTING = {"raises", "warns", "deprecated_call", "fail", "until", "eventually"}

# A helper that asserts says so in its name.
ASSERTING_PREFIXES = ("assert", "check", "expect")


def collected_from(source: str) -> Iterator[Function]:
    """What pytest collects: functions, and methods of classes of tests."""
    for node in ast.parse(source).body:
        if isinstance(node, ast.ClassDef):
            if node.name.startswith("Test") or any("Test" in ast.unparse(b) for b in node.bases):
                yield from (member for member in node.body if is_test(member))
        elif is_test(node):
            yield node


def is_test(node: ast.AST) -> bool:
    return isinstance(node, Function) and node.name.startswith("test")


def asserts(test: Function) -> bool:
    return any(
        isinstance(node, ast.Assert) or (isinstance(node, ast.Call) and is_assertion(node))
        for node in ast.walk(test)
    )


def is_assertion(call: ast.Call) -> bool:
    name = getattr(call.func, "attr", getattr(call.func, "id", "")).lstrip("_")
    return name in ASSERTING or name.startswith(ASSERTING_PREFIXES)


def files() -> list[Path]:
    found = [
        *ROOT.glob("tests/**/test_*.py"),
        *ROOT.glob("tests/**/*_cases.py"),
        *ROOT.glob("src/channels/testing/conformance/*.py"),
        *ROOT.glob("examples/**/tests/*.py"),
    ]
    return sorted(found)


def test_every_test_asserts_something() -> None:
    """Add an assertion on the effect; "does not raise" alone hardly ever fails."""
    silent = [
        f"{path.relative_to(ROOT)}:{test.lineno} {test.name}"
        for path in files()
        for test in collected_from(path.read_text("utf-8"))
        if not asserts(test)
    ]
    assert silent == []


@pytest.mark.parametrize(
    ("body", "expected"),
    [
        ("assert x", True),
        ("with pytest.raises(ValueError): x()", True),
        ("await check_told(x)", True),
        ("self._check_told(x)", True),
        ("await until(lambda: x)", True),
        ("x()", False),
        ("x.check", False),
    ],
)
def test_assertions_are_recognized(body: str, expected: bool) -> None:
    (test,) = collected_from(f"async def test_it():\n    {body}")
    assert asserts(test) is expected


def test_handlers_of_consumers_are_no_tests() -> None:
    source = "class Consumer(AsyncConsumer):\n    def test_message(self): pass\n"
    source += "class TestIt:\n    def test_it(self): pass\n    def helper(self): pass\n"
    assert [test.name for test in collected_from(source)] == ["test_it"]


def test_what_is_excluded_from_the_coverage_says_why() -> None:
    excluded = [
        (str(path.relative_to(ROOT)), line.strip())
        for path in sorted(ROOT.glob("src/**/*.py"))
        for line in path.read_text("utf-8").splitlines()
        if re.search(r"pragma:\s*no\s*(cover|branch)", line)
    ]
    reason = re.compile(r"# pragma: no (cover|branch) - \w+( \S+){2,}$")
    assert [place for place in excluded if not reason.search(place[1])] == []

"""The documentation says of each server what the tests have found."""

from dataclasses import fields
from pathlib import Path

import pytest

from tests.servers import ROOT, SERVERS, Capabilities

from . import table

PAGE = ROOT / "docs" / "reference" / "servers.md"
TESTS = [path.read_text() for path in Path(__file__).parent.glob("*.py")]


def test_the_documentation_has_the_table():
    _, _, *committed = table.FILE.read_text(encoding="utf-8").splitlines()
    assert committed == table.rows(), "run: python -m tests.conformance.servers.table"


def test_it_has_a_column_for_every_server():
    names = table.FILE.read_text(encoding="utf-8").splitlines()[0].split("|")[2:-1]
    assert [name.split()[0] for name in names] == list(SERVERS)


@pytest.mark.parametrize("name", [field.name for field in fields(Capabilities)])
def test_every_capability_is_asserted(name):
    asserted = "protocol_error(" if name == "protocol_errors" else f"can.{name}"
    assert any(asserted in text for text in TESTS)


@pytest.mark.parametrize("kind", SERVERS.values(), ids=SERVERS)
def test_the_documentation_has_the_command_that_is_tested(kind):
    command = " ".join(kind.command).format(port=8000, application="mysite.asgi:application")
    assert f"$ python -m {command}\n" in PAGE.read_text(encoding="utf-8")

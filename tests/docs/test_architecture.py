"""The map of the house names every module, and no module that is not there."""

import re
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
PAGE = ROOT / "docs" / "internals" / "architecture.md"
SOURCE = ROOT / "src" / "channels"

# Rooms whose modules are read as one.
WHOLE = ("management/", "testing/", "contrib/", "layers/redis/scripts/")


def modules():
    for path in SOURCE.rglob("*.py"):
        name = path.relative_to(SOURCE).as_posix()
        if path.name != "__init__.py" and not name.startswith(WHOLE):
            yield name


def test_every_module_is_on_the_map():
    page = PAGE.read_text()
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", page)}
    helpers = {"search.py", "tcp.py"}  # of servers/, which has a page
    missing = {name for name in modules() if Path(name).name not in named | helpers}
    assert not missing


def test_the_map_names_no_module_that_is_gone():
    there = {Path(name).name for name in modules()}
    named = {name.rpartition("/")[2] for name in re.findall(r"`([\w/]+\.py)`", PAGE.read_text())}
    assert not named - there

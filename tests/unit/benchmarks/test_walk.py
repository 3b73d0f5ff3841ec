"""The page that lists the modules which a message enters is true, and none is entered in vain."""

import json
import subprocess
import sys

import pytest

from benchmarks.servers import find_redis
from benchmarks.walk import LAYERS, LIMITS, PAGE, Part, as_table, modules, update
from tests.brokers import unavailable


def test_a_call_to_a_module_that_was_entered_earlier_is_a_return():
    part = Part()
    for module, function, caller in [
        ("a", "first", None),
        ("b", "second", "a"),
        ("b", "third", "b"),
        ("b", "fourth", "a"),
        ("c", "fifth", "b"),
        ("a", "sixth", "c"),
    ]:
        part.add(module, function, caller)
    assert (part.calls, part.returns) == (6, [("c", "a")])
    assert part.functions == {
        "a": ["first", "sixth"],
        "b": ["second", "third", "fourth"],
        "c": ["fifth"],
    }
    other = Part()
    other.add("c", "seventh", None)
    table = list(as_table({"sending": part, "handling": other}))
    assert modules({"sending": part, "handling": other}) == ["a", "b", "c"]
    assert table[0] == "3 modules, 7 calls."
    assert table[4:] == [
        "| sending | `a` | `first`, `sixth` |",
        "|  | `b` | `second`, `third`, `fourth` |",
        "|  | `c` | `fifth` |",
        "| handling | `c` | `seventh` |",
        "\nReturn while sending: `c` calls `a`.",
    ]


def test_a_page_is_updated_in_the_place_of_its_layer_only():
    page = "x\n<!-- walk: memory -->\nold\n<!-- end -->\n<!-- walk: streams -->\n<!-- end -->\n"
    updated = update(page, "memory", "new")
    assert updated == page.replace("\nold\n", "\n\nnew\n\n")
    assert update(updated, "memory", "new") == updated
    with pytest.raises(ValueError, match="no place for pubsub"):
        update(page, "pubsub", "new")


@pytest.mark.parametrize("layer", LAYERS)
def test_the_page_lists_the_modules_that_a_message_enters(layer):
    if layer != "memory" and find_redis() is None:
        unavailable("A Redis server")
    command = [sys.executable, "-m", "benchmarks.walk", layer, "--json"]
    run = subprocess.run(command, capture_output=True, text=True, check=True, timeout=60)
    way = json.loads(run.stdout)
    assert not way["returns"], way["table"]
    assert len(way["modules"]) <= LIMITS[layer], way["table"]
    page = PAGE.read_text()
    place = page[page.index(f"<!-- walk: {layer} -->") :].partition("<!-- end -->")[0]
    assert rows(place) == rows(way["table"]), "bring the page up to date: make walk"


def rows(table):
    """The parts and modules of a table. The names of functions differ between Pythons."""
    return [row.split("|")[1:3] for row in table.splitlines() if row.startswith("|")]

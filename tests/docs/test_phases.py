"""The page about the phases of a connection says what the code does."""

import re

from channels._runtime.lifecycle import ENDED, TRANSITIONS, Phase
from tests.docs.phases import END, PAGE, START, table

TEXT = PAGE.read_text(encoding="utf-8")


def test_the_table_is_that_of_the_code():
    """``python -m tests.docs.phases`` writes it anew."""
    assert TEXT.partition(START)[2].partition(END)[0] == table()


def test_every_phase_and_every_event_is_explained():
    explained = re.findall(r"^\| `(\w+)` \| \w{2,} ?", TEXT, re.MULTILINE)
    for name in (*(phase.name for phase in Phase), *TRANSITIONS):
        assert name in explained


def test_the_drawing_has_an_arrow_for_every_change():
    drawn = set(re.findall(r'data-change="(\w+) (\w+)"', TEXT))
    changes = {
        (before.name, after.name)
        for event in TRANSITIONS.values()
        for before, after in event.items()
    }
    left_out = {(phase, ENDED.name) for phase in ("CONNECTING", "OPEN", "REFUSED")}
    assert drawn == changes - left_out

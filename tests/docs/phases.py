"""The table of a connection's phases and events, for docs/internals/connection.md.

``python -m tests.docs.phases`` writes it anew.
"""

from channels._runtime.lifecycle import TRANSITIONS, Phase
from tests.servers import ROOT

__all__ = ["END", "PAGE", "START", "table", "write"]

PAGE = ROOT / "docs" / "internals" / "connection.md"
START, END = "<!-- events -->\n", "<!-- end of events -->"


def table() -> str:
    """A row for each event, a column for each phase but the last, from which nothing leads."""
    phases = list(Phase)[:-1]
    rows = [
        [f"`{event}`", *(changes[phase].name if phase in changes else "" for phase in phases)]
        for event, changes in TRANSITIONS.items()
    ]
    head = ["in", *(f"`{phase.name}`" for phase in phases)]
    lines = [head, ["---"] * len(head), *rows]
    return "\n" + "".join(f"| {' | '.join(line)} |\n" for line in lines) + "\n"


def write() -> None:
    """Put the table into the page."""
    before, _, rest = PAGE.read_text(encoding="utf-8").partition(START)
    after = rest.partition(END)[2]
    PAGE.write_text(before + START + table() + END + after, encoding="utf-8")


if __name__ == "__main__":
    write()

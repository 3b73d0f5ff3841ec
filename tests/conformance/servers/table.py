"""The table of what each server can do, for the documentation.

``python -m tests.conformance.servers.table`` writes it anew. It is made of the
:class:`~tests.servers.Capabilities`, every one of which the tests here hold each server to.
"""

from dataclasses import fields
from importlib.metadata import version
from pathlib import Path

from tests.servers import ROOT, SERVERS, Capabilities

__all__ = ["FILE", "rows", "write"]

FILE: Path = ROOT / "docs" / "_static" / "servers.md"


def shown(value: object) -> str:
    """A capability as the reader sees it."""
    if value is None:
        return "n/a"
    if isinstance(value, bool):
        return "yes" if value else "no"
    return str(value)


def rows() -> list[str]:
    """The lines of the table under its head: one for each capability, a column per server."""
    return [
        f"| {field.metadata['what']} "
        + "".join(f"| {shown(getattr(kind.can, field.name))} " for kind in SERVERS.values())
        + "|"
        for field in fields(Capabilities)
        if "what" in field.metadata
    ]


def write() -> None:
    """Write the table, with the versions that are installed in its head."""
    names = [f"{kind.package} {version(kind.package)}" for kind in SERVERS.values()]
    head = ["| |" + "".join(f" {name} |" for name in names), "|---" * (len(names) + 1) + "|"]
    FILE.write_text("\n".join([*head, *rows()]) + "\n", encoding="utf-8")


if __name__ == "__main__":
    write()

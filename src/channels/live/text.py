"""The figures as text for a terminal."""

import time
from collections.abc import Sequence

from .._runtime.logtext import printable
from .figures import Process
from .rates import Overview

__all__ = ["as_text", "summary"]


def summary(found: Overview) -> str:
    """How everything is, in one line."""
    totals = found.totals
    return (
        f"{len(found.processes)} processes, {_number(totals.get('connections'))} connections, "
        f"{_number(totals.get('slow'))} slow clients, {_number(totals.get('dropped'))} messages "
        f"dropped, {_number(totals.get('crashes'))} crashes"
    )


def as_text(found: Overview) -> str:
    """All processes as tables, in lines without control characters."""
    lines = [summary(found), ""]
    header = ("HOST", "PID", "KIND", "UP", "CONN", "IN/s", "OUT/s", "LAYER/s", "DROPPED",
              "LAG ms", "THREADS")  # fmt: skip
    lines += _table([header, *(_row(p, found.rates.get(p.process)) for p in found.processes)])
    parts = (
        ("CONSUMER", found.consumers.items()),
        ("GROUP", ((group.name, group.members) for group in found.groups)),
        ("DROPPED", found.dropped.items()),
        ("LIMIT", found.limits.items()),
    )
    for title, counts in parts:
        rows = [(printable(name), str(count)) for name, count in counts]
        if rows:
            lines += ["", *_table([(title, ""), *rows])]
    if found.crashes:
        lines += ["", "CRASHES"]
        for _, crash in found.crashes:
            at = time.strftime("%Y-%m-%d %H:%M:%S", time.localtime(crash.at))
            text = f"{crash.consumer} at {crash.path}: {crash.error} ({crash.where})"
            lines.append(f"{at}  {printable(text, 500)}")
    if found.unreadable:
        lines += ["", f"{found.unreadable} answers could not be read"]
    return "\n".join(lines)


def _row(process: Process, rates: dict[str, float] | None) -> tuple[str, ...]:
    shown = [None if rates is None else rates[name] for name in ("received", "sent", "layer")]
    return (
        printable(process.host),
        str(process.pid),
        printable(process.kind),
        f"{process.age:.0f} s",
        str(process.connections),
        *map(_number, shown),
        str(process.dropped),
        _number(None if process.lag is None else process.lag * 1000),
        f"{process.threads_busy}/{process.threads}",
    )


def _number(value: float | None) -> str:
    return "-" if value is None else f"{value:.0f}"


def _table(rows: Sequence[Sequence[str]]) -> list[str]:
    widths = [max(map(len, column)) for column in zip(*rows, strict=True)]
    return [
        "  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip()
        for row in rows
    ]

"""The table: medians of the repeats, and what they are of those of the peers."""

import platform
from collections import defaultdict
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from statistics import median
from typing import Any

from .contenders import CONTENDERS
from .measure import Result
from .scenarios import SCENARIOS

__all__ = ["Row", "figure", "line", "markdown", "processor", "rows"]

REFERENCES = ("channels-4", "starlette")


@dataclass(frozen=True)
class Row:
    """The medians of all repeats of one scenario by one contender.

    Attributes:
        ratios: Its score divided by that of a reference in the same repeat, the median of these.
        lost: Deliveries lost or doubled in all repeats together.
        core: Share of one core the server used.
        redis_ms: CPU of the Redis server per 1,000, where there is one.
        memory_kib: Memory of the server per idle connection, where there are any.
        limited: The load generator was the limit of the rate.
        score: What is compared: server CPU or elapsed time, in milliseconds per 1,000, or memory.
    """

    scenario: str
    contender: str
    cpu_ms: float
    rate: float
    core: float
    redis_ms: float | None
    memory_kib: float | None
    p50_ms: float | None
    p99_ms: float | None
    lost: int
    limited: bool
    score: float
    ratios: dict[str, float]


def rows(results: list[Result]) -> list[Row]:
    """Sum the repeats up: one row per scenario and contender, in the order they are declared."""
    runs: dict[tuple[str, str], list[Result]] = defaultdict(list)
    for result in results:
        runs[result.scenario, result.contender].append(result)
    return [
        _row(runs, scenario, contender)
        for scenario in SCENARIOS
        for contender in CONTENDERS
        if (scenario, contender) in runs
    ]


def _row(runs: dict[tuple[str, str], list[Result]], scenario: str, contender: str) -> Row:
    own = runs[scenario, contender]
    return Row(
        scenario=scenario,
        contender=contender,
        cpu_ms=median(run.cpu_ms for run in own),
        rate=median(run.rate for run in own),
        core=median(run.server_core for run in own),
        redis_ms=_median(run.redis_ms for run in own),
        memory_kib=_median(run.memory_kib for run in own),
        p50_ms=_median(run.p50_ms for run in own),
        p99_ms=_median(run.p99_ms for run in own),
        lost=sum(run.lost + run.duplicated for run in own),
        limited=any(run.load_was_the_limit for run in own),
        score=median(run.score for run in own),
        ratios={
            name: median(a.score / b.score for a, b in zip(own, runs[scenario, name], strict=False))
            for name in REFERENCES
            if runs.get((scenario, name))
        },
    )


def _median(figures: Iterable[float | None]) -> float | None:
    known = [each for each in figures if each is not None]
    return median(known) if known else None


def line(result: Result) -> str:
    """One run in one line, to watch the progress."""
    text = f"{result.scenario:19} {result.contender:17} {result.cpu_ms:8.2f} ms CPU per 1,000"
    text += f" {result.rate:10,.0f}/s"
    if result.memory_kib is not None:
        text += f" {result.memory_kib:8.1f} KiB each"
    wrong = [f"{n} {what}" for what in ("lost", "duplicated") if (n := getattr(result, what))]
    if result.log:
        wrong.append("log: " + result.log.strip().splitlines()[-1])
    return "  ".join([text, *wrong])


def markdown(rows: list[Row], record: dict[str, Any]) -> str:
    """A Markdown table, and a sentence on how and where the record came to be."""
    head = [
        "scenario",
        "contender",
        "CPU ms per 1,000",
        "per second",
        "core",
        "Redis ms",
        "KiB each",
        "p50 ms",
        "p99 ms",
        "lost",
    ]
    head += [f"of {CONTENDERS[name].title}" for name in REFERENCES]
    lines = [head, ["---"] * 2 + ["---:"] * (len(head) - 2)]
    previous = ""
    for row in rows:
        title = SCENARIOS[row.scenario].title if row.scenario != previous else ""
        previous = row.scenario
        lines.append(
            [
                title,
                CONTENDERS[row.contender].title,
                figure(row.cpu_ms),
                ("≥ " if row.limited else "") + f"{row.rate:,.0f}",
                f"{row.core:.2f}",
                figure(row.redis_ms),
                figure(row.memory_kib),
                figure(row.p50_ms),
                figure(row.p99_ms),
                f"{row.lost:,}",
                *(figure(row.ratios.get(name)) for name in REFERENCES),
            ]
        )
    table = "\n".join("| " + " | ".join(cells) + " |" for cells in lines)
    return f"{table}\n\n{_origin(record)}\n"


def _origin(record: dict[str, Any]) -> str:
    packages: dict[str, set[str]] = defaultdict(set)
    for found in record["versions"].values():
        for name, version in found.items():
            packages[name].add(version)
    listed = ", ".join(
        f"{name} {' and '.join(sorted(found))}" for name, found in sorted(packages.items())
    )
    return (
        f"Measured on {record['date']}: {record['machine']}; runs of "
        f"{record['seconds']:g} s, {record['repeats']} of each, in turns; {listed}."
    )


def figure(value: float | None) -> str:
    """A number with as many digits as mean something; ``-`` for none."""
    if value is None:
        return "-"
    return f"{value:,.0f}" if value >= 100 else f"{value:.1f}" if value >= 10 else f"{value:.2f}"


def processor() -> str:
    """The name of this machine's processor."""
    info = Path("/proc/cpuinfo")
    if info.exists():
        for text in info.read_text().splitlines():
            if text.startswith("model name"):
                return text.partition(":")[2].strip()
    return platform.processor() or "unknown processor"

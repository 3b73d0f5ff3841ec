"""The table: medians of the repeats, beside those of the reference."""

from collections import defaultdict
from statistics import median
from typing import Any

from .contenders import CONTENDERS
from .measure import RESUME_PATIENCE, Result

__all__ = ["line", "markdown"]

REFERENCE = "celery-prefork"

HEAD = [
    "contender",
    "enqueued a second",
    "finished a second",
    "CPU ms per 1,000: enqueueing",
    "workers",
    "broker",
    "p50 ms",
    "p95 ms",
    "worker killed: resumed after s",
    "its process killed: after s",
    "lost",
    f"throughput of workers per core, {CONTENDERS[REFERENCE].title} = 1",
]


def line(result: Result) -> str:
    """One run, for the terminal."""
    resumed = "not" if result.resumed_s is None else f"after {result.resumed_s:.1f} s"
    return (
        f"{result.contender}: {result.enqueued:.0f}/s enqueued, {result.finished:.0f}/s finished, "
        f"{result.enqueue_cpu_ms:.0f} + {result.worker_cpu_ms:.0f} + "
        f"{result.broker_cpu_ms or 0:.0f} ms CPU per 1,000, p50 {result.p50_ms:.1f} ms, "
        f"p95 {result.p95_ms:.1f} ms, resumed {resumed}, {result.lost} lost"
    )


def markdown(results: list[Result], record: dict[str, Any]) -> str:
    """The table of medians, and what they were measured with."""
    runs: dict[str, list[Result]] = defaultdict(list)
    for result in results:
        runs[result.contender].append(result)
    lines = [f"| {' | '.join(HEAD)} |", f"| --- |{' ---: |' * (len(HEAD) - 1)}"]
    lines += [
        f"| {' | '.join(_cells(runs[name], runs.get(REFERENCE, [])))} |"
        for name in CONTENDERS
        if name in runs
    ]
    packages = "; ".join(
        f"{name}: {', '.join(f'{package} {version}' for package, version in found.items())}"
        for name, found in record["versions"].items()
    )
    measured = (
        f"Measured on {record['date']} on {record['machine']}: medians of {record['repeats']} runs "
        f"in turns, of {record['tasks']:,} tasks each. {packages}."
    )
    return "\n".join([*lines, "", measured]) + "\n"


def _cells(own: list[Result], reference: list[Result]) -> list[str]:
    name = own[0].contender
    broker = [run.broker_cpu_ms for run in own if run.broker_cpu_ms is not None]
    ratios = [b.worker_cpu_ms / a.worker_cpu_ms for a, b in zip(own, reference, strict=False)]
    return [
        CONTENDERS[name].title,
        f"{median(run.enqueued for run in own):,.0f}",
        f"{median(run.finished for run in own):,.0f}",
        f"{median(run.enqueue_cpu_ms for run in own):,.0f}",
        f"{median(run.worker_cpu_ms for run in own):,.0f}",
        f"{median(broker):,.0f}" if broker else "",
        f"{median(run.p50_ms for run in own):,.1f}",
        f"{median(run.p95_ms for run in own):,.1f}",
        _resumed([run.resumed_s for run in own]),
        _resumed([run.replaced_s for run in own]) if CONTENDERS[name].has_processes else "",
        f"{sum(run.lost for run in own)}",
        f"{median(ratios):.2f}" if ratios else "",
    ]


def _resumed(seconds: list[float | None]) -> str:
    known = [value for value in seconds if value is not None]
    return f"{median(known):.1f}" if known else f"not within {RESUME_PATIENCE:.0f}"

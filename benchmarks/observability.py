"""What metrics and traces cost: ``python -m benchmarks.observability``.

The same chat runs in servers of which one is not watched, one counts for Prometheus, and one traces
1 % with OpenTelemetry. They take turns on one core, a second each, again and again; each turn is
compared with the one of the server that is not watched beside it, so that what else the machine
does meanwhile hits both. ``--instructions`` counts instructions instead (valgrind), which repeat to
a part in a hundred whatever else the machine does, though they are no time. So few messages are
traced in that time that those of which all and those of which none are kept are counted apart, and
weighted.
"""

import argparse
import contextlib
import re
import statistics
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from pathlib import Path
from typing import NamedTuple

from .load import Load
from .scenarios import SCENARIOS, Scenario, Traffic
from .servers import APPS, Process, Server, cores, pin

__all__ = ["MODES", "Costs", "compare", "instructions", "main"]


class Mode(NamedTuple):
    """One way to watch a server.

    Attributes:
        app: the module under ``apps/``.
        installed: what is in ``INSTALLED_APPS`` besides.
        most: that it may cost, as a part of what a message costs.
        kept: the part of the traces that is kept; None where nothing is traced.
    """

    app: str
    installed: str = ""
    most: float | None = None
    kept: float | None = None

    def environ(self, kept: float | None = None) -> dict[str, str]:
        """The environment variables for a server; with another part of the traces kept."""
        part = self.kept if kept is None else kept
        return {"BENCHMARK_APPS": self.installed, "BENCHMARK_KEPT": str(part)}


MODES = {
    "off": Mode("django_chat"),
    "prometheus": Mode("django_chat", "channels.contrib.prometheus", 0.03),
    "traces": Mode("traced_chat", "channels.contrib.opentelemetry", 0.10, 0.01),
}

_NAMES = ("echo", "broadcast-100")
_WARM_UP = 0.5  # seconds
_VALGRIND = ["valgrind", "--tool=callgrind", "--instr-atstart=no", "--callgrind-out-file={out}"]

Costs = dict[str, list[float]]


def cpu_seconds(process: int) -> float:
    """CPU time of all threads of a process, to the nanosecond (Linux)."""
    threads = Path(f"/proc/{process}/task").glob("*/schedstat")
    return sum(int(thread.read_text().split()[0]) for thread in threads) / 1e9


def measure(scenario: Scenario, turns: int, seconds: float) -> Costs:
    """Microseconds of CPU for each message that a client gets, by mode, one for each turn."""
    server_core, load_core = cores() or (None, None)
    costs: Costs = {mode: [] for mode in MODES}
    with contextlib.ExitStack() as stack:
        work = {}
        for mode, watched in MODES.items():
            server = stack.enter_context(
                Server(sys.executable, watched.app, server_core, watched.environ())
            )
            traffic = Traffic(stack.enter_context(Load(server.port)), scenario)
            work[mode] = server.process.pid, traffic
            traffic.run(_WARM_UP)
        pin(0, load_core)
        for turn in range(turns):
            # Each mode is as often before the others as after them.
            for mode in MODES if turn % 2 else reversed(MODES):
                process, traffic = work[mode]
                before = cpu_seconds(process)
                tally = traffic.run(seconds)
                costs[mode].append((cpu_seconds(process) - before) * 1e6 / tally.count)
    return costs


def compare(costs: Costs, mode: str) -> float:
    """By which part a mode costs more than nothing watched: the median of all turns."""
    pairs = zip(costs[mode], costs["off"], strict=True)
    return statistics.median(watched / off for watched, off in pairs) - 1


def instructions(scenario: Scenario, seconds: float, folder: Path) -> dict[str, float]:
    """Instructions for each message that a client gets, by mode, as valgrind counts them."""
    found = {}
    for mode, watched in MODES.items():
        kept = watched.kept
        parts = {None: 1.0} if kept is None else {0.0: 1 - kept, 1.0: kept}
        found[mode] = sum(
            part * _count(scenario, seconds, folder, watched.app, watched.environ(of_traces))
            for of_traces, part in parts.items()
        )
    return found


def _count(
    scenario: Scenario, seconds: float, folder: Path, app: str, environ: dict[str, str]
) -> float:
    """Instructions for each message that a client gets, of one server."""
    out = folder / "callgrind"
    for old in folder.glob(f"{out.name}*"):
        old.unlink()
    valgrind = [part.replace("{out}", str(out)) for part in _VALGRIND]
    command = [*valgrind, sys.executable, "-m", "uvicorn", f"{app}:application", "--port"]
    command += ["{port}", "--log-level", "warning"]
    with (
        Process(command, None, environ | {"PYTHONHASHSEED": "0"}) as server,
        Load(server.port, patience=60) as load,
    ):
        traffic = Traffic(load, scenario)
        traffic.run(_WARM_UP)
        _control(server, "-i", "on")
        traffic.run(_WARM_UP)  # valgrind translates the code
        _control(server, "-z")
        tally = traffic.run(seconds)
        _control(server, "-d")
    return sum(_totals(folder, out.name)) / tally.count


def _control(server: Process, *options: str) -> None:
    command = ["callgrind_control", *options, str(server.process.pid)]
    subprocess.run(command, check=True, capture_output=True, cwd=APPS)


def _totals(folder: Path, name: str) -> Iterator[int]:
    """What the dumps of one process say: the first is of what was asked for."""
    for dump in sorted(folder.glob(f"{name}.1*")):
        if total := re.search(r"^(?:totals|summary): (\d+)", dump.read_text(), re.MULTILINE):
            yield int(total[1])


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.observability", description=__doc__)
    add = parser.add_argument
    add("--scenarios", nargs="+", choices=_NAMES, default=list(_NAMES), metavar="NAME")
    add("--turns", type=int, default=30, help="how often each server has its turn (default: 30)")
    add("--seconds", type=float, default=1.0, help="length of a turn (default: 1)")
    add("--instructions", action="store_true", help="count instructions instead of time")
    options = parser.parse_args(arguments)
    print("| Scenario | Watched by | For each message | More than off | At most |")
    print("|---|---|---|---|---|")
    for name in options.scenarios:
        if options.instructions:
            with tempfile.TemporaryDirectory() as folder:
                counted = instructions(SCENARIOS[name], options.seconds, Path(folder))
            costs, unit = {mode: [count] for mode, count in counted.items()}, "instructions"
        else:
            costs, unit = measure(SCENARIOS[name], options.turns, options.seconds), "µs"
        for mode, watched in MODES.items():
            most = watched.most
            value = statistics.median(costs[mode])
            more, limit = (
                ("", "") if most is None else (f"{compare(costs, mode):+.1%}", f"{most:.0%}")
            )
            print(f"| {name} | {mode} | {value:,.1f} {unit} | {more} | {limit} |", flush=True)


if __name__ == "__main__":
    main()

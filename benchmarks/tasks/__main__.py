"""The command line: ``python -m benchmarks.tasks``."""

import argparse
import json
import platform
import signal
import sys
import time
from dataclasses import asdict
from pathlib import Path
from typing import Any

from .. import report as other_report
from ..contenders import HERE, ROOT, environment, versions
from ..servers import cores, find_redis
from . import report
from .contenders import CONTENDERS
from .measure import Result, measure


def arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.tasks", description=__doc__)
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    add("--repeat", type=int, default=3, help="how often everything is measured (default: 3)")
    add("--tasks", type=int, default=2000, help="tasks of one measurement (default: 2000)")
    add("--out", type=Path, default=HERE / "results", help="folder for the files it writes")
    add("--docs", action="store_true", help="write the table of the documentation too")
    add("--read", type=Path, metavar="JSON", help="show the results of an earlier run instead")
    return parser.parse_args()


def run(options: argparse.Namespace) -> dict[str, Any]:
    """Measure one contender after the other, and all of them again for each repeat."""
    pythons = {name: environment(CONTENDERS[name].environment) for name in options.contenders}
    both, redis = cores(), find_redis()
    results: list[Result] = []
    for repeat in range(options.repeat):
        for name in options.contenders:
            result = measure(name, pythons[name], options.tasks, both, redis)
            results.append(result)
            print(f"{repeat + 1}/{options.repeat} {report.line(result)}", file=sys.stderr)
    return {
        "date": time.strftime("%Y-%m-%d"),
        "machine": f"{platform.system()} {platform.machine()}, {other_report.processor()}",
        "repeats": options.repeat,
        "tasks": options.tasks,
        "versions": {
            CONTENDERS[name].environment: versions(python) for name, python in pythons.items()
        },
        "results": [asdict(result) for result in results],
    }


def main() -> None:
    options = arguments()
    signal.signal(signal.SIGTERM, lambda *_: sys.exit("Terminated."))  # workers are killed then
    options.out.mkdir(parents=True, exist_ok=True)
    record = json.loads(options.read.read_text()) if options.read else run(options)
    markdown = report.markdown([Result(**result) for result in record["results"]], record)
    files = {"tasks.json": json.dumps(record, indent=1) + "\n", "tasks.md": markdown}
    for folder in [options.out] + [ROOT / "docs" / "_static"] * options.docs:
        for name, content in files.items():
            (folder / name).write_text(content)
    print(markdown)


if __name__ == "__main__":
    main()

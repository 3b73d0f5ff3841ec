"""The Autobahn test suite against an echo consumer on every server, for the documentation.

``python -m tests.conformance.autobahn --wstest PATH`` runs it, which takes an hour, and writes the
page that ``docs/reference/servers.md`` includes. What fails is run once more against an echo that
does without Channels on the same server: what fails there as well is the server's. With ``--reports
FOLDER`` the suite's own reports are kept, and what is in the folder already is not run again.

PATH is the suite's command. It is software for Python 2.7, so it gets an environment of its own,
anywhere outside this repository::

    virtualenv --python=python2.7 ENVIRONMENT  # virtualenv 20.21 is the last that can make one
    ENVIRONMENT/bin/pip install autobahntestsuite  # brings ENVIRONMENT/bin/wstest
"""

import argparse
import json
import re
import subprocess
import sys
import tempfile
from collections import Counter
from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from datetime import UTC, datetime
from importlib.metadata import version
from pathlib import Path
from typing import Any

from tests.processes import ServerProcess
from tests.servers import ROOT, SERVERS

__all__ = ["FILE", "Run", "Verdict", "judge", "page", "run"]

FILE: Path = ROOT / "docs" / "_static" / "autobahn.md"
LIMIT = 64 * 2**20  # bytes; the suite's longest message has 16 MiB
MINUTES = 90.0  # for all cases on one server; compression takes the longest
#: What speaks the protocol for the server, where that is a package of its own.
PROTOCOLS = {"uvicorn": "websockets", "daphne": "autobahn", "hypercorn": "wsproto"}
#: The suite's groups, by the first number of a case.
GROUPS = {
    1: "Framing",
    2: "Pings and pongs",
    3: "Reserved bits",
    4: "Opcodes",
    5: "Fragmentation",
    6: "UTF-8",
    7: "Closing",
    9: "Limits and performance",
    10: "Automatic fragmentation",
    12: "Compression of payloads",
    13: "Compression parameters",
}
OUTCOMES = ("passed", "non-strict", "informational", "failed", "unimplemented")


@dataclass(frozen=True)
class Verdict:
    """What became of a case: one of :data:`OUTCOMES`, and for a failure what was wrong."""

    outcome: str
    reason: str = ""


@dataclass(frozen=True)
class Run:
    """What became of each case on one server, by its id."""

    server: str
    suite: str
    verdicts: Mapping[str, Verdict]
    #: Of the cases that failed, those that also fail without Channels; None if that was not tried.
    bare_failures: frozenset[str] | None = None


# Reading what the suite has written


def outcome(entry: Mapping[str, Any]) -> str:
    """The outcome of an entry in ``index.json``: a wrong end fails a case too."""
    behavior = entry["behavior"]
    if behavior == "FAILED" or entry["behaviorClose"] not in ("OK", "INFORMATIONAL"):
        return "failed"
    return "passed" if behavior == "OK" else str(behavior).lower()


def told(event: Sequence[Any]) -> str:
    """An event on the wire, such as ``["message", "...", False]``, in words."""
    kind, *rest = event
    payload = rest[0] if rest and isinstance(rest[0], str) else ""
    if kind == "message":
        kind = "a binary message" if rest[-1] else "a text message"
    return f"{kind} of length {len(payload)}" if rest else str(kind)


def reason(report: Mapping[str, Any]) -> str:
    """What was wrong in a case, of its own report: in one line, what was sent and what came."""
    sent = re.sub(r"<[^>]*>", " ", report["description"])
    sent = " ".join(sent.replace("|", " ").split()).removesuffix(".")
    if report["behavior"] == "FAILED":
        wrong = report["result"]
        if wrong.startswith("Actual events differ"):
            received = [told(event) for event in report["received"]]
            wrong = "Came back: " + (", ".join(received) or "nothing")
    else:
        wrong = report["resultClose"]
    if report["behaviorClose"] == "WRONG CODE":
        wrong += f", not {report['remoteCloseCode']}"
    return f"{sent}: {wrong[0].lower()}{wrong[1:].rstrip('.')}"


def judge(folder: Path) -> dict[str, Verdict]:
    """The verdicts in a folder of reports, for the one server that is in it."""
    (entries,) = json.loads((folder / "index.json").read_text(encoding="utf-8")).values()
    verdicts = {}
    for case, entry in entries.items():
        verdict = Verdict(outcome(entry))
        if verdict.outcome == "failed":
            report = json.loads((folder / entry["reportfile"]).read_text(encoding="utf-8"))
            verdict = Verdict("failed", reason(report))
        verdicts[case] = verdict
    return verdicts


# Writing the page


def numbers(case: str) -> list[int]:
    """What cases are sorted by: ``"9.1.6"`` comes before ``"10.1.1"``."""
    return [int(number) for number in case.split(".")]


def cell(outcomes: Counter[str]) -> str:
    """A cell of the table, such as "12 passed, 2 failed"."""
    return ", ".join(f"{outcomes[name]} {name}" for name in OUTCOMES if outcomes[name]) or "not run"


def table(runs: Sequence[Run]) -> list[str]:
    """A line for each group of cases, and one for all, with a column for each server."""
    lines = [
        "| |" + "".join(f" {run.server} |" for run in runs),
        "|---" * (len(runs) + 1) + "|",
    ]
    counted = [
        (run, Counter((numbers(case)[0], v.outcome) for case, v in run.verdicts.items()))
        for run in runs
    ]
    for group, title in GROUPS.items():
        cells = [
            cell(Counter({name: count[group, name] for name in OUTCOMES})) for _, count in counted
        ]
        lines.append(f"| {title} ({group}) |" + "".join(f" {text} |" for text in cells))
    totals = [cell(Counter(v.outcome for v in run.verdicts.values())) for run in runs]
    return [*lines, "| All |" + "".join(f" {text} |" for text in totals)]


def failures(run: Run) -> Iterable[str]:
    """A line for each case that failed."""
    for case in sorted(run.verdicts, key=numbers):
        verdict = run.verdicts[case]
        if verdict.outcome == "failed":
            bare = "not tried"
            if run.bare_failures is not None:
                bare = "fails" if case in run.bare_failures else "**passes**"
            yield f"| {run.server.split()[0]} | {case} | {verdict.reason} | {bare} |"


def page(runs: Sequence[Run], day: str) -> str:
    """The generated part of the documentation."""
    suites = ", ".join(sorted({run.suite for run in runs}))
    lines = [f"As run on {day}, with autobahntestsuite {suites}:", "", *table(runs)]
    failed = [line for run in runs for line in failures(run)]
    if failed:
        head = ["", "What failed:", "", "| | Case | | Without Channels |", "|---|---|---|---|"]
        lines += [*head, *failed]
    return "\n".join(lines) + "\n"


# Running it


def roomy(server: str, folder: Path) -> list[str]:
    """The options with which a server takes messages of :data:`LIMIT` bytes, as far as it does."""
    if server == "hypercorn":
        file = folder / "hypercorn.toml"
        file.write_text(f"websocket_max_message_size = {LIMIT}\n", encoding="utf-8")
        return [f"--config={file}"]
    options = {
        "uvicorn": ["--ws-max-size"],
        "daphne": ["--websocket-max-message-size", "--websocket-max-frame-size"],
    }
    return [f"{option}={LIMIT}" for option in options.get(server, [])]


def fuzz(wstest: str, server: str, application: str, cases: Sequence[str], folder: Path) -> None:
    """Have the suite's reports on an application of :mod:`tests.conformance.echo` written."""
    target = f"tests.conformance.echo:{application}"
    command = [part.replace("{application}", target) for part in SERVERS[server].command]
    options = [*SERVERS[server].quiet, *roomy(server, folder)]
    log = folder / "server.log"
    with ServerProcess(["-m", *command, *options], cwd=ROOT, log=log, env={}) as process:
        specification = {
            "outdir": str(folder / "reports"),
            "servers": [{"agent": server, "url": process.ws_url, "options": {"version": 18}}],
            "cases": list(cases),
            "exclude-cases": [],
            "exclude-agent-cases": {},
        }
        file = folder / "fuzzingclient.json"
        file.write_text(json.dumps(specification), encoding="utf-8")
        with (folder / "wstest.log").open("wb") as said:
            subprocess.run(
                [wstest, "-m", "fuzzingclient", "-s", str(file)],
                cwd=folder,
                stdout=said,
                stderr=subprocess.STDOUT,
                check=True,
                timeout=MINUTES * 60,
            )


def run(wstest: str, server: str, application: str, cases: Sequence[str], folder: Path) -> Run:
    """What becomes of cases on a server, or became of them if the folder has the reports already.

    Raises:
        RuntimeError: the suite ended before it had run all of them.
        subprocess.TimeoutExpired: it took more than :data:`MINUTES`.
    """
    folder.mkdir(parents=True, exist_ok=True)
    if not (folder / "reports" / "index.json").exists():
        fuzz(wstest, server, application, cases, folder)
    verdicts = judge(folder / "reports")
    said = (folder / "wstest.log").read_text(encoding="utf-8", errors="replace")
    planned = re.search(r"will run (\d+) test cases", said)
    suite = re.search(r"Testsuite Version ([\d.]+)", said)
    if planned is None or suite is None or int(planned[1]) != len(verdicts):
        raise RuntimeError(f"wstest ended early on {server}:\n{said[-2000:]}")
    names = (SERVERS[server].package, PROTOCOLS.get(server))
    shown = " with ".join(f"{name} {version(name)}" for name in names if name)
    return Run(shown, suite[1], verdicts)


def compare(wstest: str, server: str, cases: Sequence[str], folder: Path) -> Run:
    """Run cases against the consumer, and what fails against the application without Channels."""
    found = run(wstest, server, "consumer", cases, folder / "consumer")
    failed = [case for case, verdict in found.verdicts.items() if verdict.outcome == "failed"]
    again = run(wstest, server, "bare", failed, folder / "bare").verdicts if failed else {}
    bare = frozenset(case for case, verdict in again.items() if verdict.outcome == "failed")
    return Run(found.server, found.suite, found.verdicts, bare)


def main(arguments: Sequence[str] | None = None) -> None:
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--wstest", required=True, help="the command of the suite")
    parser.add_argument("--server", action="append", choices=SERVERS, help="only this one")
    parser.add_argument("--case", action="append", help='only these, such as "7.*"')
    parser.add_argument(
        "--reports", type=Path, help="a folder for the suite's reports; again, it continues"
    )
    given = parser.parse_args(arguments)
    with tempfile.TemporaryDirectory() as temporary:
        folder = (given.reports or Path(temporary)).resolve()
        runs = [
            compare(given.wstest, server, given.case or ["*"], folder / server)
            for server in given.server or SERVERS
        ]
    text = page(runs, datetime.now(UTC).date().isoformat())
    if given.server or given.case:
        sys.stdout.write(text)
    else:
        FILE.write_text(text, encoding="utf-8")


if __name__ == "__main__":
    main()

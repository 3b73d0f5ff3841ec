"""One run: one contender does the work of one scenario, and its cost is taken down."""

import json
import subprocess
import time
from dataclasses import dataclass
from pathlib import Path

from .contenders import CONTENDERS
from .load import Load
from .scenarios import SCENARIOS, Storm, Tally, Traffic
from .servers import APPS, Server, clean_environ, pin

__all__ = ["Result", "measure"]


@dataclass(frozen=True)
class Result:
    """What one run cost.

    Attributes:
        scenario: Its name in ``SCENARIOS``.
        contender: Its name in ``CONTENDERS``.
        count: Deliveries (for ``connections``: connections opened and closed).
        seconds: How long they took.
        cpu_ms: CPU time of the server per 1,000 of them, in milliseconds.
        p50_ms, p99_ms: Latency; None for the layer, whose messages travel nowhere.
        lost, duplicated: Deliveries that were due and did not come, or came twice.
        server_core: Share of one core the server used.
        load_core: Share of one core the load generator used.
        log: What the server printed.
    """

    scenario: str
    contender: str
    count: int
    seconds: float
    cpu_ms: float
    p50_ms: float | None = None
    p99_ms: float | None = None
    lost: int = 0
    duplicated: int = 0
    server_core: float = 1.0
    load_core: float = 0.0
    log: str = ""

    @property
    def rate(self) -> float:
        """Deliveries (or connections) per second."""
        return self.count / self.seconds

    @property
    def load_was_the_limit(self) -> bool:
        """Whether the server could have gone faster than it was asked to."""
        return self.load_core > 0.95 and self.server_core < 0.95

    @property
    def score(self) -> float:
        """The figure that contenders are compared by: less is better."""
        return self.cpu_ms if SCENARIOS[self.scenario].metric == "cpu" else 1e6 / self.rate


def measure(
    contender: str,
    scenario: str,
    python: str,
    seconds: float,
    cores: tuple[int, int] | None = None,
    profile: Path | None = None,
) -> Result:
    """Start the contender, let it do the work for so many seconds, and stop it.

    Args:
        contender: A name in ``CONTENDERS``.
        scenario: A name in ``SCENARIOS``.
        python: The interpreter of the contender's environment.
        seconds: How long, after a warm-up of a third of that.
        cores: For the server, and for the load.
        profile: Where py-spy draws its flame graph, if it shall and if it is installed.

    Raises:
        RuntimeError: The server does not start, or nothing was delivered.
        subprocess.SubprocessError: The script that measures the layer failed; it has said why.
        TimeoutError: The server stopped answering.
    """
    if SCENARIOS[scenario].kind == "layer":
        return _measure_layer(contender, scenario, python, seconds, cores)
    server_core, load_core = cores or (None, None)
    with (
        Server(python, CONTENDERS[contender].app, server_core) as server,
        Load(server.port) as load,
    ):
        pin(0, load_core)
        work = (Storm if SCENARIOS[scenario].kind == "storm" else Traffic)(
            load, SCENARIOS[scenario]
        )
        work.run(seconds / 3)
        spy = server.profile(seconds, profile) if profile else None
        time.sleep(0.2)  # what the warm-up left to do is not counted ...
        server_before, load_before = server.cpu_seconds(), time.process_time()
        tally = work.run(seconds)
        load_cpu = time.process_time() - load_before
        time.sleep(0.2)  # ... and what this run leaves to do is; an idle server costs nothing
        server_cpu = server.cpu_seconds() - server_before
        if spy:
            spy.wait()
        log = server.log
    return _result(contender, scenario, tally, server_cpu, load_cpu, log)


def _result(
    contender: str, scenario: str, tally: Tally, server_cpu: float, load_cpu: float, log: str
) -> Result:
    if not tally.count:
        raise RuntimeError(f"{contender} delivered nothing in {scenario}:\n{log}")
    latencies = sorted(tally.latencies_ns)
    return Result(
        scenario=scenario,
        contender=contender,
        count=tally.count,
        seconds=tally.seconds,
        cpu_ms=server_cpu * 1e6 / tally.count,
        p50_ms=latencies[len(latencies) // 2] / 1e6,
        p99_ms=latencies[len(latencies) * 99 // 100] / 1e6,
        lost=tally.lost,
        duplicated=tally.duplicated,
        server_core=server_cpu / tally.seconds,
        load_core=load_cpu / tally.seconds,
        log=log[-2000:],
    )


def _measure_layer(
    contender: str, scenario: str, python: str, seconds: float, cores: tuple[int, int] | None
) -> Result:
    script, members = str(APPS / "layer_alone.py"), str(SCENARIOS[scenario].members)
    pin(0, cores[0] if cores else None)  # the script inherits it
    output = subprocess.run(
        [python, script, members, str(seconds)],
        check=True,
        env=clean_environ(),
        stdout=subprocess.PIPE,
        timeout=60 + 10 * seconds,
    ).stdout
    found = json.loads(output)
    cpu_ms = found["cpu_seconds"] * 1e6 / found["count"]
    return Result(scenario, contender, found["count"], found["seconds"], cpu_ms)

"""One run: one contender does the work of one scenario, and its cost is taken down."""

import json
import subprocess
import threading
import time
from contextlib import ExitStack
from dataclasses import dataclass
from pathlib import Path

from .contenders import CONTENDERS
from .load import Load
from .scenarios import SCENARIOS, WORK
from .servers import APPS, Process, Redis, Server, clean_environ, pin

__all__ = ["Result", "measure"]


@dataclass(frozen=True)
class Result:
    """What one run cost.

    Attributes:
        scenario: Its name in ``SCENARIOS``.
        contender: Its name in ``CONTENDERS``.
        count: Deliveries (for ``connections``: connections opened and closed; for ``idle``:
            connections opened; for ``redis-sync``: messages sent).
        seconds: How long they took.
        cpu_ms: CPU time of the server (or of all servers) per 1,000 of them, in milliseconds.
        p50_ms, p99_ms: Latency; None for layers without a server.
        lost, duplicated: Deliveries that were due and did not come, or came twice.
        server_core: Share of one core the server (or servers) used.
        load_core: Share of one core the load generator used, with Redis, which is on the same.
        redis_ms: CPU time of the Redis server per 1,000, in milliseconds; None without one.
        memory_kib: Memory of the server per connection that waits; None where none does.
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
    redis_ms: float | None = None
    memory_kib: float | None = None
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
        match SCENARIOS[self.scenario].metric:
            case "memory":
                return self.memory_kib or 0.0
            case "time":
                return 1e6 / self.rate
            case _:
                return self.cpu_ms


def measure(
    contender: str,
    scenario: str,
    python: str,
    seconds: float,
    cores: tuple[int, int] | None = None,
    profile: Path | None = None,
    redis: str | None = None,
) -> Result:
    """Start the contender, let it do the work for so many seconds, and stop it.

    Args:
        contender: A name in ``CONTENDERS``.
        scenario: A name in ``SCENARIOS``.
        python: The interpreter of the contender's environment.
        seconds: How long, after a warm-up of a third of that.
        cores: For the server, and for the load and Redis.
        profile: Where py-spy draws its flame graph, if it shall and if it is installed.
        redis: The Redis server's binary, for scenarios that need one.

    Raises:
        RuntimeError: A server does not start, or nothing was delivered.
        subprocess.SubprocessError: The script that measures a layer failed; it has said why.
        TimeoutError: The server stopped answering.
    """
    server_core, load_core = cores or (None, None)
    with ExitStack() as stack:
        broker, environ = None, {}
        if SCENARIOS[scenario].redis:
            if redis is None:
                raise RuntimeError(f"{scenario} needs a Redis server, and there is none.")
            broker = stack.enter_context(Redis(redis, load_core))
            environ["BENCHMARK_REDIS"] = f"redis://127.0.0.1:{broker.port}/0"
            environ["BENCHMARK_LAYER"] = CONTENDERS[contender].layer
        if SCENARIOS[scenario].kind == "script":
            return _measure_script(
                contender, scenario, python, seconds, server_core, environ, broker
            )
        app = (broker and CONTENDERS[contender].redis_app) or CONTENDERS[contender].app
        servers = [
            stack.enter_context(Server(python, app, server_core, environ))
            for _ in range(SCENARIOS[scenario].processes)
        ]
        load = stack.enter_context(Load(*(server.port for server in servers)))
        pin(0, load_core)
        return _measure_servers(contender, scenario, seconds, servers, load, broker, profile)


def _measure_servers(
    contender: str,
    scenario: str,
    seconds: float,
    servers: list[Server],
    load: Load,
    broker: Redis | None,
    profile: Path | None,
) -> Result:
    work = WORK[SCENARIOS[scenario].kind](load, SCENARIOS[scenario])
    work.warm_up(seconds / 3)
    spy = servers[0].profile(seconds, profile) if profile else None
    time.sleep(0.2)  # what the warm-up left to do is not counted ...
    server_before, broker_before = _cpu(*servers), _cpu(broker)
    load_before, memory_before = time.process_time(), _memory(servers)
    tally = work.run(seconds)
    load_cpu = time.process_time() - load_before
    time.sleep(0.2)  # ... and what this run leaves to do is; an idle server costs nothing
    server_cpu, broker_cpu = _cpu(*servers) - server_before, _cpu(broker) - broker_before
    memory = _memory(servers) - memory_before
    if spy:
        spy.wait()
    work.finish(tally)
    log = "".join(server.log for server in servers)
    if not tally.count:
        raise RuntimeError(f"{contender} delivered nothing in {scenario}:\n{log}")
    latencies = sorted(tally.latencies_ns)
    return Result(
        scenario=scenario,
        contender=contender,
        count=tally.count,
        seconds=tally.seconds,
        cpu_ms=server_cpu * 1e6 / tally.count,
        p50_ms=_percentile(latencies, 50),
        p99_ms=_percentile(latencies, 99),
        lost=tally.lost,
        duplicated=tally.duplicated,
        server_core=server_cpu / tally.seconds,
        load_core=(load_cpu + broker_cpu) / tally.seconds,
        redis_ms=broker_cpu * 1e6 / tally.count if broker else None,
        memory_kib=(
            memory / 1024 / tally.count if SCENARIOS[scenario].metric == "memory" else None
        ),
        log=log[-2000:],
    )


def _measure_script(
    contender: str,
    scenario: str,
    python: str,
    seconds: float,
    core: int | None,
    environ: dict[str, str],
    broker: Redis | None,
) -> Result:
    """Run a script that warms up, prints a line, measures itself, and prints what it found."""
    how = "sync_layer" if contender == "checkout-sync" else "async_to_sync"
    script, members = str(APPS / SCENARIOS[scenario].script), str(SCENARIOS[scenario].members)
    command = [python, script, members, str(seconds), how]
    pin(0, core)  # the script inherits it
    with subprocess.Popen(
        command, env=clean_environ() | environ, stdout=subprocess.PIPE, text=True
    ) as process:
        give_up = threading.Timer(120 + 10 * seconds, process.kill)
        give_up.start()
        try:
            process.stdout.readline()
            before = _cpu(broker)
            output = process.stdout.readline()
            broker_cpu = _cpu(broker) - before
            process.wait()
        finally:
            give_up.cancel()
            process.kill()
    if process.returncode or not output:
        raise subprocess.CalledProcessError(process.returncode, command)
    found = json.loads(output)
    return Result(
        scenario=scenario,
        contender=contender,
        count=found["count"],
        seconds=found["seconds"],
        cpu_ms=found["cpu_seconds"] * 1e6 / found["count"],
        lost=found.get("lost", 0),
        server_core=found["cpu_seconds"] / found["seconds"],
        redis_ms=broker_cpu * 1e6 / found["count"] if broker else None,
    )


def _cpu(*processes: Process | None) -> float:
    """The CPU time that they have had until now, together."""
    return sum(process.cpu_seconds() for process in processes if process)


def _percentile(sorted_ns: list[int], percent: int) -> float | None:
    return sorted_ns[len(sorted_ns) * percent // 100] / 1e6 if sorted_ns else None


def _memory(servers: list[Server]) -> int:
    """The memory that they occupy, in bytes."""
    return sum(server.resident_bytes() for server in servers)

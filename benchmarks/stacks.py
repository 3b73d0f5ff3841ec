"""What a message to a browser costs through a broker: ``python -m benchmarks.stacks``.

The same chat runs on uvicorn with each contender, with processes of its own. All run at the same
time, and clients send and get messages through one after the other in turns, again and again, so
that what else the machine does hits all of them. The figures are CPU times: of the servers for each
message that a client gets, and of the broker for each that one sends. Layers have their default
options. channels-rabbitmq drops messages when a process lags behind by a hundred of them, so what
was lost is told as well.
"""

import argparse
import statistics
from collections.abc import Iterator, Mapping
from contextlib import ExitStack
from dataclasses import dataclass, replace

from . import brokers
from .brokers import Broker, Contender, running_brokers
from .contenders import environment, versions
from .load import Load
from .observability import cpu_seconds
from .scenarios import Scenario, Traffic
from .servers import Server

__all__ = ["CONTENDERS", "SCENARIOS", "Cost", "Stack", "main", "measure", "table"]

_THEIRS = brokers.CONTENDERS["channels-rabbitmq"]

CONTENDERS = {
    "rabbitmq": brokers.CONTENDERS["rabbitmq"],
    "redis": brokers.CONTENDERS["redis"],
    "their-layer": Contender(
        "this checkout with channels-rabbitmq 4.0.1", "checkout-channels-rabbitmq", _THEIRS.broker,
        _THEIRS.backend, _THEIRS.option,
    ),
    "theirs": Contender(
        "channels 4.3.2 with channels-rabbitmq 4.0.1", _THEIRS.environment, _THEIRS.broker,
        _THEIRS.backend, _THEIRS.option,
    ),
}  # fmt: skip

SCENARIOS = {
    "broadcast": Scenario("broadcast to 100, one process", members=100),
    "across": Scenario("broadcast to 100 at two processes", members=100, processes=2),
    "rooms": Scenario("50 rooms of 4 at two processes", rooms=50, members=4, processes=2),
}

# Seconds; the second for messages to arrive that are lost, perhaps.
_WARM_UP, _PATIENCE = 1.0, 2.0

# Clients answer nothing, not even pings, while it is not their turn.
_PATIENT = ("--ws-ping-interval", "3600")


@dataclass(frozen=True)
class Cost:
    """CPU time of one turn, in microseconds, and what was lost in it.

    Attributes:
        servers: of all server processes, for each message that a client gets.
        broker: for each message that a client sends.
        lost: the part of the messages for clients that they did not get.
    """

    servers: float
    broker: float
    lost: float


class Stack:
    """One contender in one scenario, which takes its turn when it is told.

    Args:
        name: of the contender.
        scenario: what its clients do.
        python: the interpreter.
        broker: where its layer sends.
        stack: ends it.
    """

    def __init__(
        self, name: str, scenario: Scenario, python: str, broker: Broker, stack: ExitStack
    ) -> None:
        self._contender, self._broker = CONTENDERS[name], broker
        # Two contenders use the same names at the broker: each has rooms of its own.
        self._scenario = replace(scenario, path=f"/chat/{name}-{{room}}/")
        environ = {"BENCHMARK_CHANNEL_LAYER": self._contender.layer(broker.url)}
        self._servers = [
            stack.enter_context(Server(python, "django_chat", None, environ, _PATIENT))
            for _ in range(scenario.processes)
        ]
        ports = [server.port for server in self._servers]
        load = stack.enter_context(Load(*ports, patience=_PATIENCE))
        self._traffic = Traffic(load, self._scenario)
        self._traffic.run(_WARM_UP)

    def take(self, seconds: float) -> Cost:
        """One turn.

        Raises:
            RuntimeError: no message arrived; says what the servers have written.
        """
        servers, broker = self._used()
        tally = self._traffic.run(seconds)
        servers_after, broker_after = self._used()
        if not tally.count:
            logs = "".join(server.log for server in self._servers)
            raise RuntimeError(f"{self._contender.title}: no message arrived.\n{logs}")
        due = tally.count + tally.lost
        return Cost(
            servers=(servers_after - servers) * 1e6 / tally.count,
            broker=(broker_after - broker) * 1e6 * self._scenario.members / due,
            lost=tally.lost / due,
        )

    def _used(self) -> tuple[float, float]:
        """CPU time so far, of the servers and of the broker, in seconds."""
        servers = sum(cpu_seconds(server.process.pid) for server in self._servers)
        return servers, cpu_seconds(self._broker.pid)


def measure(
    scenario: Scenario,
    pythons: Mapping[str, str],
    running: Mapping[str, Broker],
    turns: int,
    seconds: float,
) -> dict[str, list[Cost]]:
    """What each contender's turns cost.

    Args:
        scenario: what clients do.
        pythons: interpreters, by the names of contenders.
        running: brokers, by their names.
        turns: of each contender.
        seconds: that a turn takes.
    """
    costs: dict[str, list[Cost]] = {name: [] for name in pythons}
    with ExitStack() as stack:
        stacks = {
            name: Stack(name, scenario, python, running[CONTENDERS[name].broker], stack)
            for name, python in pythons.items()
        }
        for turn in range(turns):
            # Each is as often before the others as after them.
            for name in stacks if turn % 2 else reversed(stacks):
                costs[name].append(stacks[name].take(seconds))
    return costs


def table(scenario: Scenario, costs: Mapping[str, list[Cost]]) -> Iterator[str]:
    """Rows: medians, their ratios to today's stack and to Redis, and what was lost on average."""
    servers = {name: statistics.median(each.servers for each in c) for name, c in costs.items()}
    for name, each in costs.items():
        cells = [
            f"{servers[name]:.1f}",
            f"{statistics.median(cost.broker for cost in each):.0f}",
            *(
                f"{servers[name] / servers[peer]:.2f}" if peer in servers else ""
                for peer in ("theirs", "redis")
            ),
            f"{statistics.mean(cost.lost for cost in each):.1%}",
        ]
        yield f"| {scenario.title} | {CONTENDERS[name].title} | {' | '.join(cells)} |"


HEAD = (
    "| Scenario | Stack | Servers, µs a delivery | Broker, µs a message "
    "| Servers, channels 4 with channels-rabbitmq = 1 | Redis = 1 | Lost |\n"
    "|---|---|---:|---:|---:|---:|---:|"
)


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.stacks", description=__doc__)
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    add("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    add("--turns", type=int, default=20, help="of each contender (default: 20)")
    add("--seconds", type=float, default=1.0, help="length of a turn (default: 1)")
    options = parser.parse_args(arguments)
    pythons = {name: environment(CONTENDERS[name].environment) for name in options.contenders}
    print(HEAD)
    with running_brokers() as running:
        for name in options.scenarios:
            scenario = SCENARIOS[name]
            costs = measure(scenario, pythons, running, options.turns, options.seconds)
            for row in table(scenario, costs):
                print(row, flush=True)
    for name in dict.fromkeys(CONTENDERS[name].environment for name in options.contenders):
        print(f"\n{name}: {versions(environment(name))}")


if __name__ == "__main__":
    main()

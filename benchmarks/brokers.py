"""RabbitMQ beside Redis, and beside channels-rabbitmq: ``python -m benchmarks.brokers``.

All contenders run at the same time, each with processes of its own, and do the same work in turns,
again and again, so that what else the machine does hits all of them. The figures are CPU times: of
the process that sends for each message, of the one that receives for each delivery, and of the
broker for each message. Layers have their default options.
"""

import argparse
import json
import statistics
import subprocess
from collections import defaultdict
from collections.abc import Iterator, Mapping
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from typing import Self

from tests import rabbit

from .contenders import environment, versions
from .observability import cpu_seconds
from .servers import APPS, Redis, clean_environ, find_redis

__all__ = [
    "CONTENDERS",
    "SCENARIOS",
    "Broker",
    "Contender",
    "Cost",
    "Turns",
    "main",
    "measure",
    "running_brokers",
    "table",
]


@dataclass(frozen=True)
class Contender:
    """A layer.

    Attributes:
        title: for the reader.
        environment: its name in ``ENVIRONMENTS``.
        broker: ``"redis"`` or ``"rabbitmq"``.
        backend: the layer's class.
        option: its option for where the broker is.
        many: whether that option takes a list.
    """

    title: str
    environment: str
    broker: str
    backend: str
    option: str
    many: bool = False

    def layer(self, url: str) -> str:
        """The setting."""
        config = {self.option: [url] if self.many else url}
        return json.dumps({"BACKEND": self.backend, "CONFIG": config})


CONTENDERS = {
    "rabbitmq": Contender(
        "this checkout, RabbitMQ", "checkout-brokers", "rabbitmq",
        "channels.layers.rabbitmq.RabbitMQChannelLayer", "urls",
    ),
    "redis": Contender(
        "this checkout, Redis", "checkout-brokers", "redis",
        "channels_redis.core.RedisChannelLayer", "hosts", many=True,
    ),
    "pubsub": Contender(
        "this checkout, Redis pub/sub", "checkout-brokers", "redis",
        "channels_redis.pubsub.RedisPubSubChannelLayer", "hosts", many=True,
    ),
    "channels-rabbitmq": Contender(
        "channels-rabbitmq 4.0.1", "channels-rabbitmq", "rabbitmq",
        "channels_rabbitmq.core.RabbitmqChannelLayer", "host",
    ),
}  # fmt: skip


@dataclass(frozen=True)
class Scenario:
    """Some groups, and what is sent to them in a turn.

    Attributes:
        title: for the reader.
        groups: how many there are.
        members: of each group, in one process.
        messages: for each group in a turn. No process has more to read than 100 at a time, which is
            the least capacity of any contender.
        apart: another process sends.
    """

    title: str
    groups: int
    members: int
    messages: int
    apart: bool

    @property
    def sent(self) -> int:
        """Messages of a turn."""
        return self.groups * self.messages

    @property
    def deliveries(self) -> int:
        """Of a turn."""
        return self.sent * self.members


SCENARIOS = {
    "broadcast": Scenario("broadcast to 100, one process", 1, 100, 100, apart=False),
    "across": Scenario("broadcast to 100, another process sends", 1, 100, 100, apart=True),
    "rooms": Scenario("50 rooms of 4, another process sends", 50, 4, 2, apart=True),
}


@dataclass(frozen=True)
class Broker:
    """A running server: where it is, and its process."""

    url: str
    pid: int


@dataclass(frozen=True)
class Cost:
    """CPU time of one turn, in microseconds.

    Attributes:
        sending: for each message; None where the process that receives sends as well.
        receiving: for each delivery.
        processes: of both, for each delivery.
        broker: for each message.
    """

    sending: float | None
    receiving: float
    processes: float
    broker: float


class Remote:
    """A process that runs ``apps/layer_process.py``."""

    def __init__(self, python: str, layer: str) -> None:
        self._process = subprocess.Popen(
            [python, str(APPS / "layer_process.py")],
            env=clean_environ() | {"BENCHMARK_CHANNEL_LAYER": layer},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            text=True,
        )

    def call(self, name: str, *arguments: object) -> float:
        """What it answers."""
        print(json.dumps([name, *arguments]), file=self._process.stdin, flush=True)
        line = self._process.stdout.readline()
        if not line:
            raise RuntimeError(f"A process ended in {name}{arguments}; it has said why.")
        return json.loads(line)

    def kill(self) -> None:
        self._process.kill()
        self._process.communicate()


class Turns:
    """One contender in one scenario, which takes its turn when it is told."""

    def __init__(self, name: str, scenario: Scenario, python: str, broker: Broker) -> None:
        contender = CONTENDERS[name]
        self._scenario, self._broker, self._sent = scenario, broker, 0
        self._groups = [f"room-{name}-{number}" for number in range(scenario.groups)]
        layer = contender.layer(broker.url)
        self._receiver = self._sender = Remote(python, layer)
        if scenario.apart:
            self._sender = Remote(python, layer)

    def __enter__(self) -> Self:
        try:
            self._receiver.call("join", self._groups, self._scenario.members)
        except BaseException:
            self.__exit__()
            raise
        return self

    def __exit__(self, *exception: object) -> None:
        self._receiver.kill()
        self._sender.kill()

    def take(self) -> Cost:
        """One turn."""
        scenario, messages = self._scenario, self._scenario.messages
        broker = cpu_seconds(self._broker.pid)
        before = self._receiver.call("expect", scenario.deliveries)
        sending = self._sender.call("send", self._groups, self._sent, messages)
        receiving = self._receiver.call("wait") - before
        broker = cpu_seconds(self._broker.pid) - broker
        self._sent += messages
        return Cost(
            sending=sending * 1e6 / scenario.sent if scenario.apart else None,
            receiving=receiving * 1e6 / scenario.deliveries,
            processes=(receiving + sending * scenario.apart) * 1e6 / scenario.deliveries,
            broker=broker * 1e6 / scenario.sent,
        )


def measure(
    scenario: Scenario, pythons: Mapping[str, str], brokers: Mapping[str, Broker], turns: int
) -> dict[str, list[Cost]]:
    """What each contender's turns cost.

    Args:
        scenario: the work.
        pythons: interpreters, by the names of contenders.
        brokers: by their names.
        turns: of each contender, besides two that warm up.
    """
    costs: dict[str, list[Cost]] = defaultdict(list)
    with ExitStack() as stack:
        contenders = {
            name: stack.enter_context(Turns(name, scenario, python, broker))
            for name, python in pythons.items()
            for broker in [brokers[CONTENDERS[name].broker]]
        }
        for turn in range(turns + 2):
            order = list(contenders) if turn % 2 else reversed(contenders)
            for name in order:
                cost = contenders[name].take()
                if turn >= 2:
                    costs[name].append(cost)
    return costs


def table(scenario: Scenario, costs: Mapping[str, list[Cost]]) -> Iterator[str]:
    """Rows: medians, and the ratios of processes to those of channels-rabbitmq and Redis."""
    processes = {name: statistics.median(each.processes for each in c) for name, c in costs.items()}
    for name, each in costs.items():
        sending = [cost.sending for cost in each if cost.sending is not None]
        cells = [
            f"{statistics.median(sending):.1f}" if sending else "",
            f"{statistics.median(cost.receiving for cost in each):.2f}",
            f"{statistics.median(cost.broker for cost in each):.1f}",
            *(
                f"{processes[name] / processes[peer]:.2f}" if peer in processes else ""
                for peer in ("channels-rabbitmq", "redis")
            ),
        ]
        yield f"| {scenario.title} | {CONTENDERS[name].title} | {' | '.join(cells)} |"


HEAD = (
    "| Scenario | Layer | Sender, µs a message | Receiver, µs a delivery | Broker, µs a message "
    "| Processes, channels-rabbitmq = 1 | Redis = 1 |\n|---|---|---:|---:|---:|---:|---:|"
)


@contextmanager
def running_brokers() -> Iterator[dict[str, Broker]]:
    """A RabbitMQ and a Redis, by name."""
    binary = find_redis()
    if binary is None:
        raise SystemExit("There is no redis-server on PATH.")
    with rabbit.running() as node, Redis(binary) as redis:
        url = f"redis://127.0.0.1:{redis.port}/0"
        yield {
            "rabbitmq": Broker(node.url, node.server_pid),
            "redis": Broker(url, redis.process.pid),
        }


def main(arguments: list[str] | None = None) -> None:
    parser = argparse.ArgumentParser(prog="python -m benchmarks.brokers", description=__doc__)
    add = parser.add_argument
    add("--contenders", nargs="+", choices=CONTENDERS, default=list(CONTENDERS), metavar="NAME")
    add("--scenarios", nargs="+", choices=SCENARIOS, default=list(SCENARIOS), metavar="NAME")
    add("--turns", type=int, default=30, help="of each contender (default: 30)")
    options = parser.parse_args(arguments)
    pythons = {name: environment(CONTENDERS[name].environment) for name in options.contenders}
    print(HEAD)
    with running_brokers() as brokers:
        for name in options.scenarios:
            costs = measure(SCENARIOS[name], pythons, brokers, options.turns)
            for row in table(SCENARIOS[name], costs):
                print(row, flush=True)
    for name in dict.fromkeys(CONTENDERS[name].environment for name in options.contenders):
        print(f"\n{name}: {versions(environment(name))}")


if __name__ == "__main__":
    main()

"""What the contenders have to do, and how it is counted."""

import time
from collections import deque
from dataclasses import dataclass, field
from typing import Literal

from .load import Client, Load

__all__ = ["GROUPS", "SCENARIOS", "WORK", "Idle", "Scenario", "Storm", "Tally", "Traffic", "Work"]

# The text of a message: when it was sent and by whom, padded to 64 bytes.
MESSAGE = b'{"text": "%020d%b' + b"." * 38 + b'"}'
STAMP, SENDER = slice(10, 30), slice(30, 36)

ALL = ("checkout", "channels-4", "starlette", "asgi")
REDIS = ("checkout", "checkout-pubsub", "channels-4", "channels-4-pubsub")


@dataclass(frozen=True)
class Scenario:
    """One kind of work.

    Attributes:
        title: What happens, in a few words.
        path: Where clients connect; ``{room}`` is filled in.
        rooms: Number of rooms.
        members: Clients in each room.
        in_flight: Messages on their way (or connections being opened) at any time.
        contenders: Those that can do it.
        kind: How it is done: messages, connections that come and go, connections that wait, or a
            script that has a layer and no server.
        script: That script, under ``apps/``.
        metric: What is compared: the server's CPU, the time it takes, or the memory that each
            connection takes.
        redis: Messages go through a Redis server.
        processes: Server processes; connections take turns between them.
    """

    title: str
    path: str = "/chat/{room}/"
    rooms: int = 1
    members: int = 1
    in_flight: int = 10
    contenders: tuple[str, ...] = ALL
    kind: Literal["traffic", "storm", "idle", "script"] = "traffic"
    script: str = ""
    metric: Literal["cpu", "time", "memory"] = "cpu"
    redis: bool = False
    processes: int = 1

    @property
    def clients(self) -> int:
        """How many are connected at a time."""
        return 0 if self.kind == "script" else self.rooms * self.members


SCENARIOS = {
    "echo": Scenario("echo, 50 clients", path="/echo/", rooms=50, in_flight=50),
    "broadcast-100": Scenario("broadcast to 100", members=100),
    "broadcast-1000": Scenario("broadcast to 1,000", members=1000),
    "rooms": Scenario("500 rooms of two", rooms=500, members=2, in_flight=50),
    "connections": Scenario("1,000 connections", members=1000, in_flight=50, kind="storm"),
    "idle": Scenario(
        "5,000 idle connections", members=5000, in_flight=50, kind="idle", metric="memory"
    ),
    "blocking": Scenario(
        "20 handlers that block 50 ms",
        path="/blocking/",
        rooms=20,
        in_flight=20,
        contenders=("checkout", "channels-4", "starlette"),
        metric="time",
    ),
    "layer": Scenario(
        "layer alone, 1,000 members",
        members=1000,
        contenders=("checkout", "channels-4"),
        kind="script",
        script="layer_alone.py",
    ),
    "redis-broadcast-100": Scenario(
        "Redis: broadcast to 100", members=100, contenders=(*REDIS, "starlette"), redis=True
    ),
    "redis-rooms": Scenario(
        "Redis: 500 rooms of two",
        rooms=500,
        members=2,
        in_flight=50,
        contenders=(*REDIS, "starlette"),
        redis=True,
    ),
    "redis-cross": Scenario(
        "Redis: broadcast to 100 at two processes",
        members=100,
        contenders=(*REDIS, "starlette"),
        redis=True,
        processes=2,
    ),
    "redis-idle": Scenario(
        "Redis: 5,000 idle connections",
        members=5000,
        in_flight=50,
        contenders=(*REDIS, "starlette"),
        kind="idle",
        metric="memory",
        redis=True,
    ),
    "redis-group-10000": Scenario(
        "Redis: layer alone, 10,000 members",
        members=10000,
        contenders=REDIS,
        kind="script",
        script="layer_alone.py",
        redis=True,
    ),
    "redis-sync": Scenario(
        "Redis: sends from 4 synchronous threads",
        members=4,
        contenders=("checkout-sync", *REDIS),
        kind="script",
        script="sync_sends.py",
        metric="time",
        redis=True,
    ),
}

GROUPS = {
    "memory": [name for name, scenario in SCENARIOS.items() if not scenario.redis],
    "redis": [name for name, scenario in SCENARIOS.items() if scenario.redis],
}


@dataclass
class Tally:
    """What one run counted: deliveries (or connections), how long they took, what went wrong."""

    count: int = 0
    seconds: float = 0.0
    lost: int = 0
    duplicated: int = 0
    latencies_ns: list[int] = field(default_factory=list)


class Work:
    """What is done in one run, with the connections of ``load``."""

    def __init__(self, load: Load, scenario: Scenario) -> None:
        self.load, self.scenario = load, scenario

    def warm_up(self, seconds: float) -> None:
        """Have everything happen that happens once."""
        self.run(seconds)

    def run(self, seconds: float) -> Tally:
        """Do it for so many seconds, or once where it takes longer."""
        raise NotImplementedError

    def finish(self, tally: Tally) -> None:
        """See whether it was done well, when its cost has been taken down."""


class Traffic(Work):
    """Messages in a closed loop: whoever gets its own message back lets the next one be sent."""

    def __init__(self, load: Load, scenario: Scenario) -> None:
        super().__init__(load, scenario)
        rooms = [room for room in range(scenario.rooms) for _ in range(scenario.members)]
        paths = [scenario.path.format(room=room) for room in rooms]
        self.clients = load.connect(paths, self._received)
        for number, (client, room) in enumerate(zip(self.clients, rooms, strict=True)):
            client.room, client.tag = room, b"%06d" % number
        self.senders = (
            self.clients[: scenario.in_flight]
            if scenario.rooms == 1
            else self.clients[:: scenario.members]
        )

    def run(self, seconds: float) -> Tally:
        """Keep messages in flight for so many seconds, then wait for the last to arrive."""
        self.tally, self.due, self.sent = Tally(), 0, [0] * self.scenario.rooms
        for client in self.clients:
            client.received = 0
        started = self.last = time.perf_counter_ns()
        self.until = started + int(seconds * 1e9)
        self.idle = deque(self.senders)
        for _ in range(self.scenario.in_flight):
            self._publish()
        self.load.run(lambda: self.last >= self.until and self.tally.count >= self.due)
        self.load.settle()
        self.tally.seconds = (self.last - started) / 1e9
        missing = [self.sent[client.room] - client.received for client in self.clients]
        self.tally.lost = sum(number for number in missing if number > 0)
        self.tally.duplicated = -sum(number for number in missing if number < 0)
        return self.tally

    def _publish(self) -> None:
        client = self.idle.popleft()
        self.sent[client.room] += 1
        self.due += self.scenario.members
        client.send(MESSAGE % (time.perf_counter_ns(), client.tag))

    def _received(self, client: Client, payload: bytes) -> None:
        self.last = now = time.perf_counter_ns()
        client.received += 1
        self.tally.count += 1
        self.tally.latencies_ns.append(now - int(payload[STAMP]))
        if payload[SENDER] == client.tag:
            self.idle.append(client)
            if now < self.until:
                self._publish()


class Storm(Work):
    """Everybody connects, joins the same room, and leaves again."""

    def run(self, seconds: float) -> Tally:
        """Repeat it for so many seconds, at least once; latencies are those of the handshakes."""
        tally, started, cut = Tally(), time.perf_counter(), self.load.cut
        paths = [self.scenario.path.format(room="lobby")] * self.scenario.members
        while not tally.count or tally.seconds < seconds:
            clients = self.load.connect(
                paths, lambda client, payload: None, self.scenario.in_flight
            )
            tally.latencies_ns += [client.handshake_ns for client in clients]
            self.load.close(clients)
            tally.count += len(clients)
            tally.seconds = time.perf_counter() - started
        tally.lost = self.load.cut - cut
        return tally


class Idle(Work):
    """Everybody connects, joins the same room, and waits; in the end one message wakes them all."""

    FIRST = 100  # connections of the warm-up, which stay open too
    PATIENCE = 60.0  # seconds: one message to all keeps some servers busy for long

    def __init__(self, load: Load, scenario: Scenario) -> None:
        super().__init__(load, scenario)
        self.clients: list[Client] = []
        self.latencies_ns: list[int] = []

    def warm_up(self, seconds: float) -> None:
        """Connect the first, for all that is made once and not for each connection."""
        self._connect(self.FIRST)

    def run(self, seconds: float) -> Tally:
        """Connect everybody; they stay."""
        started = time.perf_counter()
        self._connect(self.scenario.members)
        return Tally(self.scenario.members, time.perf_counter() - started)

    def finish(self, tally: Tally) -> None:
        """Latencies are those of the message; who did not get it is lost."""
        self.load.patience = self.PATIENCE
        self.clients[0].send(MESSAGE % (time.perf_counter_ns(), b"%06d" % 0))
        self.load.run(lambda: len(self.latencies_ns) >= len(self.clients))
        self.load.settle()
        tally.latencies_ns = self.latencies_ns
        tally.lost = sum(not client.received for client in self.clients)
        tally.duplicated = sum(max(0, client.received - 1) for client in self.clients)

    def _connect(self, number: int) -> None:
        paths = [self.scenario.path.format(room="lobby")] * number
        self.clients += self.load.connect(paths, self._received, self.scenario.in_flight)

    def _received(self, client: Client, payload: bytes) -> None:
        client.received += 1
        self.latencies_ns.append(time.perf_counter_ns() - int(payload[STAMP]))


#: What does the work of each kind of scenario.
WORK: dict[str, type[Work]] = {"traffic": Traffic, "storm": Storm, "idle": Idle}

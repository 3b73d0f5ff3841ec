"""500 clients a second join a group and vanish with a TCP reset: nothing of them stays behind."""

import time
from collections import deque
from itertools import pairwise
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker
from tests.servers import SERVERS

from .clients import Client, Clients
from .harness import FULL, many_files, serving

pytestmark = [pytest.mark.server, pytest.mark.slow]

RATE = 500  # a second
WARM_UP = 2.0 if FULL else 0.5  # seconds, after which everything that is made once has been made
AT_ONCE = 200  # handshakes under way, for servers that are slower than the clients
# By how much memory may grow in each half of the time. What the allocator keeps of a moment when
# many were leaving at once, it keeps once; a leak, of 300 bytes a client in the full load, shows in
# both.
GROWTH_KIB = 4 * 1024
SECONDS = {"uvicorn": 60.0 if FULL else 5.0}
OTHERS = 10.0 if FULL else 1.0
EVERY = 50  # one client of so many speaks to all
EARLY = 5  # one client of so many vanishes while it is being accepted


def vanish(clients: Clients, seconds: float) -> float:
    """Have clients come and go for so many seconds; how long it took.

    Most vanish when they have been accepted, and so have joined their groups. Some speak to all
    before, and some do not wait until they are accepted.
    """
    total, begun, started = int(RATE * seconds), 0, time.monotonic()
    pending: deque[tuple[int, Client]] = deque()
    while begun < total or pending:
        due = min(total, int((time.monotonic() - started) * RATE))
        while begun < due and len(pending) < AT_ONCE:
            pending.append((begun, clients.start()))
            begun += 1
        clients.turn(0.001)
        for _ in range(len(pending)):
            number, client = pending.popleft()
            assert client.ended is None, f"client {number} was not let in: {client.ended}"
            if not (client.asked if number % EARLY == 0 else client.opened):
                pending.append((number, client))
                continue
            if number % EVERY == 1:
                client.send(b"bye")
            clients.reset(client)
        assert time.monotonic() - started < 10 * seconds + 30, "the server is too slow"
    return time.monotonic() - started


@pytest.mark.parametrize("broker", ["memory", "redis"], indirect=True)
@pytest.mark.parametrize("server", SERVERS)
def test_resets_leave_nothing_behind(
    server: str,
    broker: Broker | None,
    tmp_path: Path,
    record_property: Any,
) -> None:
    seconds = SECONDS.get(server, OTHERS)
    with (
        many_files(2048),
        serving(server, tmp_path, broker.url if broker else "") as site,
        Clients(site.port) as clients,
    ):
        # More memory than this is not in use at any time, however long it takes.
        for client in clients.connect(2 * AT_ONCE):
            clients.reset(client)
        [bystander] = clients.connect(1)
        vanish(clients, WARM_UP)
        states = [site.rest(1)]
        took = 0.0
        for _ in range(2):
            took += vanish(clients, seconds / 2)
            states.append(site.check_nothing_left(states[0], 1))
        first, _, last = states
        record_property("clients", round(RATE * seconds))
        record_property("a second", round(RATE * seconds / took))
        record_property("KiB more", last["resident_kib"] - first["resident_kib"])
        if FULL and server == "uvicorn":
            assert took < 1.1 * seconds, "the clients did not come as often as they should"
        entered = last["calls"]["connect"] - first["calls"]["connect"]
        assert entered >= RATE * seconds * (1 - 1 / EARLY)
        assert min(b["resident_kib"] - a["resident_kib"] for a, b in pairwise(states)) < GROWTH_KIB
        check_that_it_still_works(clients, bystander)
        if broker:
            check_keys(broker)


def check_that_it_still_works(clients: Clients, bystander: Client) -> None:
    assert bystander.ended is None
    bystander.send(b"anybody there?")
    clients.run(lambda: bystander.texts[-1:] == [b"anybody there?"], "the last message")
    assert set(bystander.texts[:-1]) == {b"bye"}


def check_keys(broker: Broker) -> None:
    """Who has left is in no group; what else there is has a limit to its life."""
    with broker.client() as client:
        keys = list(client.scan_iter(b"*"))
        groups = [key for key in keys if b":group:" in key]
        commands = [key for key in groups if b":group:channels.control." in key]
        assert len(commands) == 1, groups  # the process's own
        assert len(groups) == 2 + 1, groups  # the bystander's
        assert len(keys) < 10, keys
        for key in keys:
            assert 0 < client.pttl(key) <= 121_000, key

"""5,000 clients that wait: all of them get what is sent to all, and what one costs is bounded."""

import time
from pathlib import Path
from typing import Any

import pytest

from tests.brokers import Broker

from .clients import Clients
from .harness import FULL, many_files, serving

pytestmark = [pytest.mark.server, pytest.mark.slow]

NUMBER = 5000 if FULL else 1000
FIRST = 100  # before them, so that everything that is made once has been made
SECONDS = 25.0 if FULL else 1.0  # the longer includes the pings that uvicorn sends every 20 s
#: KiB that a connection may take: about a third more than it does.
LIMITS = {"uvicorn": 40, "daphne": 45, "hypercorn": 45, "granian": 210}
CASES = [("uvicorn", "memory"), ("uvicorn", "redis")]
if FULL:
    CASES += [(server, "memory") for server in LIMITS if server != "uvicorn"]


@pytest.mark.parametrize(("server", "broker"), CASES, indirect=["broker"])
def test_idle_connections_are_cheap_and_awake(
    server: str, broker: Broker | None, tmp_path: Path, record_property: Any
) -> None:
    with (
        many_files(NUMBER + 1000),
        serving(server, tmp_path, broker.url if broker else "") as site,
        Clients(site.port) as clients,
    ):
        crowd = clients.connect(FIRST, at_once=50)
        before = site.rest(len(crowd))
        crowd += clients.connect(NUMBER, at_once=50)
        full = site.rest(len(crowd))
        each = (full["resident_kib"] - before["resident_kib"]) / NUMBER
        record_property("KiB a connection", round(each, 1))
        until = time.monotonic() + SECONDS
        while time.monotonic() < until:
            clients.turn(0.1)
        crowd[-1].send(b"wake up")
        clients.run(lambda: all(client.texts for client in crowd), "a message to all")
        assert {client.ended for client in crowd} == {None}
        for client in crowd[FIRST:]:
            clients.reset(client)
        site.check_nothing_left(before, FIRST)
        assert all(client.texts == [b"wake up"] for client in crowd)
        assert each < LIMITS[server]

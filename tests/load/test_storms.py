"""1,000 clients connect at the same moment, as after a restart: all get in, and none is lost."""

import time
from pathlib import Path
from statistics import median
from typing import Any

import pytest

from tests.brokers import Broker
from tests.servers import SERVERS

from .clients import Clients
from .harness import FULL, many_files, serving

pytestmark = [pytest.mark.server, pytest.mark.slow]

NUMBER = 1000
STORMS = 5 if FULL else 2
CASES = [(server, layer) for server in SERVERS for layer in ("memory", "redis")]


@pytest.mark.parametrize(
    ("server", "broker"),
    CASES if FULL else [c for c in CASES if c[0] == "uvicorn"],
    indirect=["broker"],
)
def test_everybody_gets_in_and_gets_what_is_sent_to_all(
    server: str, broker: Broker | None, tmp_path: Path, record_property: Any
) -> None:
    with (
        many_files(NUMBER + 1000),
        serving(server, tmp_path, broker.url if broker else "") as site,
        Clients(site.port) as clients,
    ):
        storm(clients, 1)  # the layer connects to its broker
        before = site.rest(0)
        took = []
        for _ in range(STORMS):
            took.append(storm(clients, NUMBER))
            site.check_nothing_left(before, 0)
        record_property("seconds until all were in, median", round(median(took), 2))


def storm(clients: Clients, number: int) -> float:
    """So many connect at once, get one message, and vanish; how long it took until all were in."""
    started = time.monotonic()
    crowd = clients.connect(number)
    took = time.monotonic() - started
    assert {client.ended for client in crowd} == {None}
    crowd[0].send(b"hello")
    clients.run(lambda: all(client.texts for client in crowd), "a message to all")
    for client in crowd:
        clients.reset(client)
    assert all(client.texts == [b"hello"] for client in crowd)
    return took

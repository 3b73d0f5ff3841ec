"""Views and handlers that end with ``close_pools()`` on a server whose consumers are connected."""

import os
import signal
import subprocess
import sys
import urllib.request
from contextlib import ExitStack, contextmanager
from pathlib import Path

import pytest
from websockets.sync.client import connect

from tests.brokers import running
from tests.ports import free_port

from .test_sync_callers import wait_until_up

ROOT = Path(__file__).resolve().parents[2]
DEADLINE = 30

pytestmark = pytest.mark.server


@pytest.fixture(scope="module")
def broker():
    with running("valkey") as broker:
        yield broker


@contextmanager
def site(broker, backend, log):
    """A server process, which must have nothing to say; its port."""
    port = free_port()
    command = [
        sys.executable, "-W", "error", "-m", "uvicorn", "--factory", "--log-level=warning",
        f"--port={port}", "tests.integration.closing_site:make_application",
    ]  # fmt: skip
    env = {**os.environ, "BROKER_PORT": str(broker.port), "BACKEND": backend}
    with log.open("w") as output:
        process = subprocess.Popen(command, cwd=ROOT, env=env, stdout=output, stderr=output)
    try:
        wait_until_up(port, process)
        yield port
    finally:
        process.send_signal(signal.SIGINT)
        process.wait(DEADLINE)
    assert log.read_text() == ""


def visit(port, path):
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/{path}", timeout=DEADLINE) as answer:
        assert answer.read() == b"sent"


@pytest.mark.parametrize("layer", ["core.RedisChannelLayer", "pubsub.RedisPubSubChannelLayer"])
def test_consumers_of_every_process_go_on(broker, layer, tmp_path):
    backend = f"channels_redis.{layer}"
    with ExitStack() as stack:
        ports = [
            stack.enter_context(site(broker, backend, tmp_path / f"log-{n}")) for n in range(2)
        ]
        sockets = [
            stack.enter_context(connect(f"ws://127.0.0.1:{port}/", open_timeout=DEADLINE))
            for port in ports * 2
        ]
        sent = []
        for n in range(5):
            for port in ports:
                for way in ("async_to_sync", "await"):
                    sent.append(f"{way}-{port}-{n}")
                    visit(port, f"{way}/{sent[-1]}")
                    assert [socket.recv(timeout=DEADLINE) for socket in sockets] == [sent[-1]] * 4
            for number, socket in enumerate(sockets):
                socket.send(f"socket-{number}-{n}")
                for each in sockets:
                    assert each.recv(timeout=DEADLINE) == f"socket-{number}-{n}"

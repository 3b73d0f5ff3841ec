"""The commands of the Procfile, started by a shell and with the variables that platforms set."""

import asyncio
import os
import re
import signal
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import httpx
import pytest

from channels_redis.core import RedisChannelLayer
from tests.brokers import Broker
from tests.ports import free_port
from tests.processes import environment

from .clients import Client, all_are_told, clients_of_all, until
from .guide import DOCS, FEW, shown
from .harness import DRAIN_DEADLINE, PROJECT, Deployed, check_stop

pytestmark = pytest.mark.server

PROCFILE = dict(re.findall(r"^(\w+): (.+)$", shown("Procfile"), re.MULTILINE))
GUIDE = (DOCS / "deploy-platforms.md").read_text("utf-8")
BY_A_SHELL = "import os, sys; os.execv('/bin/sh', ['sh', '-c', sys.argv[1]])"


@pytest.fixture
def path(tmp_path: Path) -> str:
    """The variable ``PATH``, on which this Python is ``python``, as it is in a platform's image."""
    folder = tmp_path / "bin"
    folder.mkdir()
    python = folder / "python"
    python.write_text(f'#!/bin/sh\nexec {sys.executable} "$@"\n')
    python.chmod(0o755)
    return f"{folder}:{os.environ['PATH']}"


@contextmanager
def process(name: str, folder: Path, broker: Broker, path: str, **env: str) -> Iterator[Deployed]:
    """One line of the Procfile, as a platform runs it."""
    folder.mkdir()
    port = free_port()
    env |= {"PATH": path, "PORT": str(port)}
    words = ["python", "-c", BY_A_SHELL, PROCFILE[name]]
    deployed = Deployed(words, folder=folder, broker=broker, address=port, env=env)
    try:
        deployed.start(wait=name == "web")
        yield deployed
    finally:
        deployed.kill()


async def test_web_and_worker_work_together_and_end_in_good_order(
    tmp_path: Path, broker: Broker, path: str
) -> None:
    """All processes of a container get the signal at the same time, as on Heroku."""
    with (
        process("web", tmp_path / "web", broker, path, WEB_CONCURRENCY=str(FEW)) as web,
        process("worker", tmp_path / "worker", broker, path) as worker,
    ):
        clients = await clients_of_all(lambda: Client.connect(web.url), FEW)
        await all_are_told(clients, {"n": 1})

        layer = RedisChannelLayer(hosts=[broker.url])
        await layer.send("thumbnails", {"type": "make", "name": "sunset"})
        await until(lambda: all("sunset" in client.told for client in clients), "the worker", 30)
        await layer.aclose()

        # By a name of the platform's own, which is none of the site's, as its health checks ask.
        async with httpx.AsyncClient(trust_env=False) as http:
            answer = await http.get(
                f"http://127.0.0.1:{web.address}/readyz", headers={"Host": "10.0.0.1"}
            )
        assert answer.status_code == 200, answer.text

        await check_stop(web, clients, broker, lifespan=FEW, everybody=True)
        assert await asyncio.to_thread(worker.stop) == 0
        assert "Traceback" not in worker.output


async def test_the_signal_reaches_the_server_although_a_shell_started_it(
    tmp_path: Path, broker: Broker, path: str
) -> None:
    with process("web", tmp_path / "web", broker, path) as web:
        client = await Client.connect(web.url)
        web.signal(signal.SIGTERM)
        assert await client.closed() == 1012
        await asyncio.to_thread(web.ended)


async def test_the_address_and_the_scheme_come_from_the_load_balancer(
    tmp_path: Path, broker: Broker, path: str
) -> None:
    with process("web", tmp_path / "web", broker, path) as web:
        headers = {"X-Forwarded-For": "203.0.113.9", "X-Forwarded-Proto": "https"}
        client = await Client.connect(web.url, additional_headers=headers)
        assert client.hello["client"] == "203.0.113.9"
        assert client.hello["scheme"] == "wss"
        await client.socket.close()


def test_release_makes_the_tables(tmp_path: Path, broker: Broker, path: str) -> None:
    database = tmp_path / "db.sqlite3"
    done = subprocess.run(
        ["sh", "-c", PROCFILE["release"]],
        cwd=PROJECT,
        env=environment(PATH=path, REDIS_URL=broker.url, DATABASE=str(database)),
        capture_output=True,
        text=True,
        timeout=120,
        check=False,
    )
    assert done.returncode == 0, done.stderr
    assert database.exists()


def test_the_patience_that_the_guide_asks_for_is_long_enough() -> None:
    (graceful,) = re.findall(r"--timeout-graceful-shutdown (\d+)", PROCFILE["web"])
    longest = DRAIN_DEADLINE + float(graceful)
    (asked,) = re.findall(r"So they have to\nwait for (\d+)\b", GUIDE)
    assert float(asked) > longest
    others = re.findall(r"`(?:--stop-timeout|kill_timeout =) \"?(\d+)", GUIDE)
    assert len(others) == 3
    assert all(float(seconds) > longest for seconds in others)
    ((deadline, requests),) = re.findall(
        r"10 seconds \| `CHANNELS_DRAIN = \{\"DEADLINE\": (\d+)\}`, and "
        r"`--timeout-graceful-shutdown (\d+)`",
        GUIDE,
    )
    assert float(deadline) + float(requests) < 10

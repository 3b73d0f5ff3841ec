"""The guide's units: what systemd says of them, and their commands as systemd would run them.

There is no systemd that could run them here.
"""

import asyncio
import configparser
import os
import shlex
import shutil
import signal
import socket
import subprocess
import sys
from pathlib import Path

import pytest

from tests.brokers import Broker, unavailable
from tests.ports import free_port
from tests.processes import environment

from .clients import Client, all_are_told, clients_of_all
from .guide import EXAMPLE, FEW, deployed, on_port
from .harness import DRAIN_DEADLINE, PROJECT, Deployed, check_stop
from .nginx import Nginx

pytestmark = pytest.mark.server

UNITS = ("mysite.service", "mysite.socket", "mysite@.service")
PYTHON = "/srv/mysite/.venv/bin/python"
WORKERS = 4
CLIENT = "127.0.0.2"  # not the proxy's address


def unit(name: str) -> configparser.ConfigParser:
    """A unit's settings, with continued lines joined as systemd does."""
    parser = configparser.ConfigParser(interpolation=None)
    parser.optionxform = str  # type: ignore[assignment,method-assign]
    parser.read_string((EXAMPLE / name).read_text("utf-8").replace("\\\n", " "))
    return parser


def command(name: str, setting: str = "ExecStart", instance: str = "") -> list[str]:
    """The words of a command, which systemd splits much like a shell; with this Python."""
    text = unit(name)["Service"][setting].replace("%i", instance)
    assert "%" not in text
    return [
        word.replace(PYTHON, sys.executable).replace(".venv/bin/python", sys.executable)
        for word in shlex.split(text)
    ]


def test_systemd_takes_the_units(tmp_path: Path) -> None:
    analyze = shutil.which("systemd-analyze")
    if analyze is None:
        unavailable("systemd-analyze")
    for name in UNITS:
        text = (EXAMPLE / name).read_text("utf-8").replace(PYTHON, sys.executable)
        (tmp_path / name.replace("@.", "@1.")).write_text(text)
    done = subprocess.run(
        [str(analyze), "verify", "--man=no", *sorted(map(str, tmp_path.iterdir()))],
        env={**os.environ, "SYSTEMD_UNIT_PATH": f"{tmp_path}:"},
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    assert (done.returncode, done.stdout + done.stderr) == (0, "")


@pytest.mark.parametrize("name", ["mysite.service", "mysite@.service"])
def test_there_is_time_to_drain(name: str) -> None:
    service = unit(name)["Service"]
    words = command(name, instance="1")
    graceful = float(words[words.index("--timeout-graceful-shutdown") + 1])
    assert float(service["TimeoutStopSec"]) > DRAIN_DEADLINE + graceful
    assert service["KillMode"] == "mixed"


@pytest.fixture
def listening(tmp_path: Path):
    """A socket as ``mysite.socket`` says, which outlives the service."""
    settings = unit("mysite.socket")["Socket"]
    path = tmp_path / Path(settings["ListenStream"]).name
    with socket.socket(socket.AF_UNIX) as listening:
        listening.bind(str(path))
        path.chmod(int(settings["SocketMode"], 8))
        listening.listen(int(settings["Backlog"]))
        yield listening, path


async def test_the_service_gets_the_socket_and_may_restart(
    listening: tuple[socket.socket, Path], tmp_path: Path, broker: Broker, nginx: str
) -> None:
    inherited, path = listening
    service = Deployed(
        command("mysite.service"),
        folder=tmp_path,
        broker=broker,
        address=path,
        inherited=inherited,
    )
    port = free_port()
    with service, Nginx(nginx, tmp_path / "nginx", port, [f"unix:{path}"]) as proxy:
        clients = await clients_of_all(lambda: Client.connect(path), WORKERS)
        remote = await Client.connect(proxy.url, local_addr=(CLIENT, 0))
        assert remote.hello["client"] == CLIENT
        await all_are_told([*clients, remote], {"n": 1})
        await check_stop(service, [*clients, remote], broker, lifespan=WORKERS)

        # systemd holds the socket, so who comes now waits instead of being refused.
        waiting = asyncio.create_task(Client.connect(path))
        await asyncio.to_thread(service.start)
        client = await waiting
        await all_are_told([client], {"n": 2})
        await client.socket.close()
        await asyncio.to_thread(service.stop)
        assert "Traceback" not in service.output


async def test_gunicorn_finds_the_socket(
    listening: tuple[socket.socket, Path], tmp_path: Path, broker: Broker
) -> None:
    inherited, path = listening
    service = deployed("gunicorn", tmp_path, broker)
    service.address, service.inherited = path, inherited
    with service:
        clients = await clients_of_all(lambda: Client.connect(path), FEW)
        await all_are_told(clients, {"n": 1})
        await check_stop(service, clients, broker, lifespan=FEW)


async def test_a_process_with_its_port_is_started_when_it_is_ready(
    tmp_path: Path, broker: Broker
) -> None:
    port = free_port()
    words = [on_port(word, port) if "8001" in word else word
             for word in command("mysite@.service", instance="1")]  # fmt: skip
    ready = [word.replace("8001", str(port))
             for word in command("mysite@.service", "ExecStartPost", instance="1")]  # fmt: skip
    service = Deployed(words, folder=tmp_path, broker=broker, address=port)
    try:
        service.start(wait=False)
        done = await asyncio.to_thread(
            subprocess.run,
            ready,
            cwd=PROJECT,
            env=environment(**service.env),
            capture_output=True,
            text=True,
            timeout=float(unit("mysite@.service")["Service"]["TimeoutStartSec"]),
            check=True,
        )
        assert done.stdout.startswith(f"OK: http://127.0.0.1:{port}/readyz")
        client = await Client.connect(service.url)
        await all_are_told([client], {"n": 1})
        await check_stop(service, [client], broker, lifespan=1)
        assert service.process.returncode in (0, -signal.SIGTERM)
    finally:
        service.kill()

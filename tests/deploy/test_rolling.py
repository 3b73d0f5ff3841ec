"""Restarts under load: clients that come back, senders that do not stop, and nobody is lost."""

import asyncio
import contextlib
import signal
from collections import Counter
from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import httpx
import pytest

from tests.brokers import Broker
from tests.ports import free_port

from .clients import Client, clients_of_all, until
from .fleet import Fleet, Publisher
from .guide import FEW, commands, deployed, on_port
from .harness import Deployed
from .nginx import Nginx

pytestmark = pytest.mark.server


@contextlib.contextmanager
def processes_of(server: str, folder: Path, broker: Broker) -> Iterator[list[Deployed]]:
    """Several processes of a server, each on its port: those of the guide, or two."""
    processes = []
    for number in range(3 if server == "uvicorn" else 2):
        own = folder / str(number)
        own.mkdir()
        if server == "uvicorn":
            port = free_port()
            words = on_port(commands("deploy-nginx.md", server)[number], port, 8001 + number)
            processes.append(Deployed(words, folder=own, broker=broker, address=port))
        else:
            processes.append(deployed(server, own, broker, workers=1))
    try:
        for process in processes:
            process.start(wait=False)
        for process in processes:
            process.wait_until_up()
        yield processes
    finally:
        for process in processes:
            process.kill()


async def restart(process: Deployed) -> None:
    """As ``systemctl restart`` does: ask, wait for the end, start, wait until it serves."""
    process.signal(signal.SIGTERM)
    status = await asyncio.to_thread(process.ended)
    assert status in (0, -signal.SIGTERM), process.output
    await asyncio.to_thread(process.start)


@contextlib.asynccontextmanager
async def visits(url: str) -> AsyncIterator[Counter[int]]:
    """Pages are fetched all the time; how often there was which status."""
    statuses: Counter[int] = Counter()

    async def visit() -> None:
        async with httpx.AsyncClient(timeout=30, headers={"host": "www.example.com"}) as client:
            while True:
                statuses[(await client.get(f"{url}/who/")).status_code] += 1
                await asyncio.sleep(0.02)

    task = asyncio.create_task(visit())
    try:
        yield statuses
        if task.done():
            task.result()
    finally:
        task.cancel()
        await asyncio.wait([task])


@pytest.mark.parametrize(
    ("server", "clients"),
    [
        ("uvicorn", 40),
        pytest.param("uvicorn", 200, marks=pytest.mark.slow),
        pytest.param("daphne", 40, marks=pytest.mark.slow),
        pytest.param("hypercorn", 40, marks=pytest.mark.slow),
        pytest.param("granian", 40, marks=pytest.mark.slow),
    ],
)
async def test_processes_restart_one_after_another(
    server: str, clients: int, tmp_path: Path, broker: Broker, nginx: str
) -> None:
    with processes_of(server, tmp_path, broker) as processes:
        servers = [f"127.0.0.1:{process.address}" for process in processes]
        # Daphne can refuse with 403 only, so the guide has nginx ask elsewhere after that too.
        more = {"http_502 http_503;": "http_502 http_503 http_403;"}
        changes = more if server == "daphne" else {}
        with Nginx(nginx, tmp_path / "nginx", free_port(), servers, changes) as proxy:
            async with (
                Publisher(broker) as publisher,
                Fleet(proxy.url, clients) as fleet,
                visits(f"http://127.0.0.1:{proxy.port}") as statuses,
            ):
                await fleet.hears(publisher)
                assert len(fleet.processes()) == len(processes)
                for process in processes:
                    await restart(process)
                    await fleet.complete()
                    await fleet.hears(publisher)
            # nginx has asked another process; uvicorn says 500 in its last moment, which is final.
            assert set(fleet.refusals) <= {500}
            assert fleet.refusals.total() <= 5
            assert set(fleet.codes) == {1012}
            assert set(statuses) == {200}
            fleet.check_messages()
        for process in processes:
            await until(lambda p=process: not unfinished(p), "every disconnect() has run")
            assert "Traceback" not in process.output, process.output


def unfinished(process: Deployed) -> Counter[str]:
    """Connections of which the end was not recorded, or more than once."""
    counts: Counter[str] = Counter()
    for event in process.events:
        if "channel" in event:
            counts[event["channel"]] += 1 if event["event"] == "connect" else -1
    return Counter({channel: count for channel, count in counts.items() if count})


@pytest.mark.parametrize("server", ["uvicorn", "gunicorn", "granian"])
async def test_workers_are_replaced_on_sighup(server: str, tmp_path: Path, broker: Broker) -> None:
    # Granian gives a new worker 3.5 seconds to start, and the old one as long.
    with deployed(server, tmp_path, broker, env={"GRANIAN_RESPAWN_INTERVAL": "1"}) as process:
        scouts = await clients_of_all(lambda: Client.connect(process.url), FEW)
        old = {client.pid for client in scouts}
        await asyncio.gather(*(client.socket.close() for client in scouts))
        async with Publisher(broker) as publisher, Fleet(process.url, 40) as fleet:
            await fleet.hears(publisher)
            process.signal(signal.SIGHUP)
            await until(lambda: not process.members() & old, "the old workers end", 60)
            await fleet.complete()
            await fleet.hears(publisher)
            assert process.process.poll() is None
            assert not set(fleet.processes()) & old
        assert set(fleet.codes) == {1012}, process.output
        # A worker that is about to end shares the socket with those that stay. It refuses; in its
        # last moment uvicorn says 500, or closes the connection before the handshake.
        retryable = {503, 500, "InvalidMessage", "ConnectionResetError"}
        assert set(fleet.refusals) <= retryable, process.output
        fleet.check_messages()
        await until(lambda: not unfinished(process), "every disconnect() has run")
        await asyncio.to_thread(process.stop)
        assert "Traceback" not in process.output, process.output

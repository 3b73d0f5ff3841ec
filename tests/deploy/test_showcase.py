"""The showcase as a cluster: `make demo-cluster`."""

import asyncio
import contextlib
import json
import os
import re
import signal
import socket
import subprocess
import sys
import uuid
from collections.abc import AsyncIterator, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import httpx
import pytest
from websockets.asyncio.client import ClientConnection, connect

from tests.brokers import find_servers, unavailable
from tests.ports import free_port
from tests.processes import environment

from .clients import until

pytestmark = [pytest.mark.server, pytest.mark.slow]

SCRIPT = Path(__file__).resolve().parents[2] / "examples" / "showcase" / "cluster.py"
STOP_SECONDS = 40.0


@dataclass
class Cluster:
    port: int
    log: Path
    process: "subprocess.Popen[bytes]"

    @property
    def origin(self) -> str:
        return f"http://127.0.0.1:{self.port}"

    @property
    def output(self) -> str:
        return self.log.read_text("utf-8", errors="replace")


def children(pid: int) -> set[int]:
    """The processes that ``pid`` has started, and that have not ended."""
    found = set()
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with contextlib.suppress(OSError, IndexError):
            state, parent = stat.read_text().rpartition(")")[2].split()[:2]
            if int(parent) == pid and state != "Z":
                found.add(int(stat.parent.name))
    return found


@pytest.fixture
def env(tmp_path: Path, nginx: str) -> dict[str, str]:
    """An environment with a database of its own, and a Redis or Valkey to be found."""
    servers = find_servers()
    if not servers:
        unavailable("a Redis or Valkey server")
    programs = tmp_path / "programs"
    programs.mkdir()
    (programs / "valkey-server").symlink_to(next(iter(servers.values())))
    path = os.pathsep.join([str(programs), os.environ["PATH"]])
    return environment(PATH=path, SHOWCASE_DATABASE=str(tmp_path / "db.sqlite3"))


@pytest.fixture
def cluster(tmp_path: Path, env: dict[str, str]) -> Iterator[Cluster]:
    log, port = tmp_path / "log", free_port()
    with log.open("wb") as output:
        process = subprocess.Popen(
            [sys.executable, str(SCRIPT), str(port)], env=env, start_new_session=True,
            stdin=subprocess.DEVNULL, stdout=output, stderr=output,
        )  # fmt: skip
    try:
        yield Cluster(port, log, process)
    finally:
        if process.poll() is None:
            process.terminate()
            process.wait(STOP_SECONDS)


@contextlib.asynccontextmanager
async def signed_in(cluster: Cluster, name: str, password: str) -> AsyncIterator[httpx.AsyncClient]:
    """A browser in which somebody has signed in."""
    options = {"base_url": cluster.origin, "timeout": 30, "follow_redirects": True}
    async with httpx.AsyncClient(**options) as browser:
        await browser.get("/sign-in/")
        form = {"username": name, "password": password}
        form["csrfmiddlewaretoken"] = browser.cookies["csrftoken"]
        answer = await browser.post("/sign-in/", data=form, headers={"Origin": cluster.origin})
        assert f"<strong>{name}</strong>" in answer.text
        yield browser


async def open_socket(cluster: Cluster, browser: httpx.AsyncClient, path: str) -> ClientConnection:
    cookies = "; ".join(f"{name}={value}" for name, value in browser.cookies.items())
    url = cluster.origin.replace("http", "ws") + path
    return await connect(
        url, origin=cluster.origin, additional_headers={"Cookie": cookies}, proxy=None
    )


async def event(socket: ClientConnection, kind: str) -> dict[str, Any]:
    """The next event of this kind."""
    others = []
    try:
        async with asyncio.timeout(20):
            while True:
                content: dict[str, Any] = json.loads(await socket.recv())
                if content["type"] == kind:
                    return content
                others.append(content["type"])
    except TimeoutError:
        raise AssertionError(f"no {kind!r}, but {others}") from None


async def test_people_on_two_servers_see_each_other(cluster: Cluster) -> None:
    def is_up() -> bool:
        assert cluster.process.poll() is None, cluster.output
        return "Ctrl-C\n" in cluster.output

    await until(is_up, "the cluster runs", 90)
    processes = children(cluster.process.pid)
    assert len(processes) == 5
    async with (
        signed_in(cluster, "alice", "wonderland") as alice_browser,
        signed_in(cluster, "bob", "builder-bob") as bob_browser,
    ):
        page = await alice_browser.get("/static/showcase/page.js")
        assert page.headers["content-type"].startswith("text/javascript")
        rooms = await alice_browser.get("/chat/")
        path = f"/ws/rooms/{re.findall(r'/chat/([0-9]+)/', rooms.text)[0]}/"
        alice = await open_socket(cluster, alice_browser, path)
        bob = await open_socket(cluster, bob_browser, path)
        served_by = {socket.response.headers["X-Served-By"] for socket in (alice, bob)}
        assert len(served_by) == 2, "nginx prefers the server with fewer connections"
        for socket in (alice, bob):
            await event(socket, "history")  # From now on it is told what is new.
        for one, other, text in ((alice, bob, "Hello"), (bob, alice, "Hello yourself")):
            say = {"type": "say", "key": uuid.uuid4().hex, "text": text}
            await one.send(json.dumps(say))
            for socket in (other, one):
                assert (await event(socket, "message"))["text"] == text
        # Both are fed by the one worker.
        for browser in (alice_browser, bob_browser):
            socket = await open_socket(cluster, browser, "/ws/feed/")
            await socket.send('{"type": "watch"}')
            await event(socket, "update")
            await socket.close()
        cluster.process.send_signal(signal.SIGINT)
        await alice.wait_closed()
        await bob.wait_closed()
    assert await until(lambda: cluster.process.poll() is not None, "it ends", STOP_SECONDS)
    assert cluster.process.returncode == 0, cluster.output
    assert not any(Path(f"/proc/{pid}").exists() for pid in processes), cluster.output
    assert "Traceback" not in cluster.output, cluster.output
    assert cluster.output.endswith("Everything has ended.\n")


def test_it_says_why_it_does_not_start(env: dict[str, str]) -> None:
    with socket.create_server(("127.0.0.1", 0)) as server:
        port = str(server.getsockname()[1])
        done = subprocess.run(
            [sys.executable, str(SCRIPT), port], env=env, capture_output=True, text=True,
            check=False,
        )  # fmt: skip
    assert (done.returncode, done.stdout) == (1, "")
    assert done.stderr == f"Port {port} is not free. Choose another: make demo-cluster PORT=8001\n"

"""Every test runs against every server; each server is started once."""

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import AbstractContextManager, asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, TypeAlias

import pytest

from tests.servers import ROOT, SERVERS, RunningServer, ServerKind

from .site import APPLICATION, Site

# So many states in a row must be the same.
AT_REST = 5

Start: TypeAlias = Callable[..., AbstractContextManager[tuple[RunningServer, Path]]]
Running: TypeAlias = tuple[RunningServer, Path, dict[str, Any]]


@pytest.fixture(scope="session", params=SERVERS)
def kind(request: pytest.FixtureRequest) -> ServerKind:
    """The server under test."""
    found = SERVERS[request.param]
    found.require()
    return found


@pytest.fixture(scope="session")
def database(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """The project's database as it is before the first request."""
    directory = tmp_path_factory.mktemp("database")
    subprocess.run(
        [sys.executable, "-m", "tests.realapp.prepare"],
        cwd=ROOT,
        env=os.environ | {"REALAPP_DIRECTORY": str(directory)},
        check=True,
        timeout=60,
    )
    return directory / "db.sqlite3"


@pytest.fixture(scope="session")
def start(kind: ServerKind, database: Path, tmp_path_factory: pytest.TempPathFactory) -> Start:
    """Starts a process of the server under test, with a database and a record of its own.

    Keyword arguments are those of ``RunningServer``, and keys of ``CHANNELS_DRAIN``.
    """

    @contextmanager
    def start(
        *, strict: bool = False, workers: bool = False, **drain: float
    ) -> Iterator[tuple[RunningServer, Path]]:
        directory = tmp_path_factory.mktemp(kind.package)
        shutil.copy(database, directory)
        env = {"REALAPP_DIRECTORY": str(directory), "REALAPP_DRAIN": json.dumps(drain)}
        with RunningServer(
            kind,
            APPLICATION,
            log=directory / "server.log",
            env=env,
            strict=strict,
            workers=workers,
        ) as server:
            yield server, directory

    return start


@pytest.fixture(scope="session")
def running(start: Start) -> Iterator[Running]:
    """The process that most tests share, and what is in it when nobody is connected."""
    with start() as (server, directory):
        yield server, directory, asyncio.run(idle_state(server, directory))


async def idle_state(server: RunningServer, directory: Path) -> dict[str, Any]:
    """The state in which the server comes to rest.

    The first requests load what is loaded lazily, and one may still see the last task of another.
    """
    site = Site(server, directory)
    async with site.http:
        states: list[dict[str, Any]] = []
        while len(states) < AT_REST or any(state != states[-1] for state in states[-AT_REST:]):
            assert len(states) < 100, f"does not come to rest: {states[-AT_REST:]}"
            await asyncio.sleep(0.02)
            states.append(await site.state())
        return states[-1]


@pytest.fixture(scope="session")
def running_strict(start: Start) -> Iterator[Running]:
    """The same under a root path, with pings and limits."""
    with start(strict=True) as (server, directory):
        yield server, directory, asyncio.run(idle_state(server, directory))


@pytest.fixture
async def site(running: Running) -> AsyncIterator[Site]:
    """The site. When the test is over, nothing may be left of it in the server or its log."""
    async with visit(running) as site:
        yield site


@pytest.fixture
async def strict_site(running_strict: Running) -> AsyncIterator[Site]:
    """The site under a root path, with pings and limits."""
    async with visit(running_strict) as site:
        yield site


@asynccontextmanager
async def visit(running: Running) -> AsyncIterator[Site]:
    server, directory, idle = running
    site = Site(server, directory)
    async with site.http:
        yield site
        await site.leave()
        await site.settle(idle)


@pytest.fixture(params=["async", "sync"])
def flavour(request: pytest.FixtureRequest) -> str:
    """Which twin of the consumer."""
    return str(request.param)


@pytest.fixture
def actor(flavour: str) -> str:
    """The name of its class."""
    return f"{flavour.capitalize()}Actor"

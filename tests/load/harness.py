"""A real server with the site of the load tests, and what the process holds at any moment."""

import json
import os
import resource
import time
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from http.client import HTTPConnection
from pathlib import Path
from typing import Any

from tests.brokers import unavailable
from tests.servers import SERVERS, RunningServer

__all__ = ["FULL", "Site", "many_files", "serving"]

#: Whether the load is that of the documentation, which takes minutes, or a short version of it.
FULL = os.environ.get("CHANNELS_LOAD") == "full"

DEADLINE = 60.0 if FULL else 20.0

# Commands with a longer queue of the listening socket, where it is short by default (Daphne's holds
# 50, Hypercorn's 100). The system drops who finds it full, and tries again seconds later.
LONG_QUEUE = {
    "daphne": (
        "daphne",
        "--endpoint=tcp:port={port}:interface=127.0.0.1:backlog=2048",
        "{application}",
    ),
    "hypercorn": ("hypercorn", "--bind=127.0.0.1:{port}", "--backlog=2048", "{application}"),
}

# Who vanishes may have its running handler cancelled, and the log says so.
TOLERATED = "was still running 0.05 s after the client had gone"

# What the process must have as little of as before, when everybody has left.
LEFT = ("objects", "layer", "pending")


@contextmanager
def many_files(number: int) -> Iterator[None]:
    """Let this process, and those it starts meanwhile, have so many files open, or say why not."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if hard != resource.RLIM_INFINITY and hard < number:
        unavailable(f"a limit of {number} open files (ulimit -Hn: {hard})")
    if soft == resource.RLIM_INFINITY or soft >= number:
        yield
        return
    resource.setrlimit(resource.RLIMIT_NOFILE, (number, hard))
    try:
        yield
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, (soft, hard))


class Site:
    """The running site."""

    def __init__(self, server: RunningServer) -> None:
        self.server = server
        self.port = server.port

    def state(self) -> dict[str, Any]:
        """What the server process holds at this moment; see ``look()`` in site.py."""
        connection = HTTPConnection("127.0.0.1", self.port, timeout=DEADLINE)
        try:
            connection.request("GET", "/state/", headers={"Connection": "close"})
            state: dict[str, Any] = json.loads(connection.getresponse().read())
        finally:
            connection.close()
        assert state["sent"] - state["delivered"] - state["pending"] == sum(
            state["dropped"].values()
        ), state
        return state

    def rest(self, connected: int) -> dict[str, Any]:
        """The state as soon as nobody but ``connected`` clients is left in the application."""
        deadline = time.monotonic() + DEADLINE
        while True:
            state = self.state()
            calls = state["calls"]
            inside = calls.get("connect", 0) - calls.get("disconnect", 0)
            # One mailbox is the process's own, for commands.
            listening, wanted = state["commands"]["listening"], state["commands"]["wanted"]
            objects = dict.fromkeys(state["objects"], connected)
            objects["mailboxes"] += wanted
            if inside == connected and listening == wanted and state["objects"] == objects:
                return state
            assert time.monotonic() < deadline, f"not {connected} connections are left: {state}"
            time.sleep(0.05)

    def check_nothing_left(self, before: dict[str, Any], connected: int) -> dict[str, Any]:
        """Wait until the process holds no more than ``before``; the state then."""
        deadline = time.monotonic() + DEADLINE
        while True:
            state = self.rest(connected)
            more = {name: state[name] for name in LEFT if state[name] != before[name]}
            # The connection that asks may, or may not, be among these.
            more |= {n: state[n] for n in ("tasks", "files") if state[n] > before[n] + 1}
            if not more:
                return state
            assert time.monotonic() < deadline, f"left in the server: {more}, instead of {before}"
            time.sleep(0.05)


@contextmanager
def serving(name: str, directory: Path, redis: str = "") -> Iterator[Site]:
    """The site behind the server of this name, which must have nothing to complain about."""
    kind = SERVERS[name]
    kind.require()
    kind = replace(kind, command=LONG_QUEUE.get(name, kind.command))
    log = directory / f"{name}.log"
    env = {"LOAD_REDIS": redis}
    with RunningServer(kind, "tests.load.site:application", log=log, env=env) as server:
        yield Site(server)
        lines = server.output.splitlines()
    unexpected = [line for line in lines if TOLERATED not in line]
    assert not unexpected, unexpected[-20:]
